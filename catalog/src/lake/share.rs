//! Reading a share of a table's files: the plan of the whole table, with its file scans cut to the share's parts.
//!
//! The plan stays Delta's own, so that columns, partition values and types of a part are those of the whole. What Delta
//! does not let be cut (files with deletion vectors, which count rows from a file's start) is not divided. It must never
//! read a file that is not in the table's list.

use std::collections::BTreeSet;
use std::sync::Arc;

use datafusion::common::plan_err;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::datasource::listing::{FileRange, PartitionedFile};
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfig};
use datafusion::datasource::source::DataSourceExec;
use datafusion::error::{DataFusionError, Result};
use datafusion::physical_plan::ExecutionPlan;

use crate::federation::{DividedFile, FilePart, Share};

fn scan_of(node: &Arc<dyn ExecutionPlan>) -> Option<&FileScanConfig> {
    node.downcast_ref::<DataSourceExec>()?.data_source().downcast_ref::<FileScanConfig>()
}

/// The files a plan scans, by path; `None` if it reads anything else, or no file at all.
pub(super) fn files(plan: &Arc<dyn ExecutionPlan>) -> Result<Option<Vec<DividedFile>>> {
    let mut files = BTreeSet::new();
    let mut others = false;
    plan.apply(|node| {
        match scan_of(node) {
            Some(scan) => {
                for file in scan.file_groups.iter().flat_map(FileGroup::iter) {
                    let meta = &file.object_meta;
                    files.insert(DividedFile { path: meta.location.to_string(), size: meta.size });
                }
            }
            None => others |= node.children().is_empty(),
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok((!others && !files.is_empty()).then(|| files.into_iter().collect()))
}

/// The same plan over the share's parts only.
///
/// # Errors
/// When a part is of no file that the plan scans, or the plan cannot be cut.
pub(super) fn only(plan: Arc<dyn ExecutionPlan>, share: &Share) -> Result<Arc<dyn ExecutionPlan>> {
    let Some(parts) = &share.parts else { return Ok(plan) };
    let mut found = BTreeSet::new();
    let cut = plan.transform_up(|node| {
        let Some(scan) = scan_of(&node) else { return Ok(Transformed::no(node)) };
        let mut scan = scan.clone();
        for group in &mut scan.file_groups {
            let mut kept = Vec::new();
            for file in group.iter() {
                for part in parts.iter().filter(|part| part.path == file.object_meta.location.as_ref()) {
                    found.insert(part.path.clone());
                    kept.extend(part_of(file, part)?);
                }
            }
            *group = FileGroup::new(kept);
        }
        let cut: Arc<dyn ExecutionPlan> = DataSourceExec::from_data_source(scan);
        Ok(Transformed::yes(cut))
    })?;
    if parts.iter().any(|part| !found.contains(&part.path)) {
        return plan_err!("a share names a file that the table does not have");
    }
    Ok(cut.data)
}

/// The part of a file, which may itself be a part of it already.
fn part_of(file: &PartitionedFile, part: &FilePart) -> Result<Option<PartitionedFile>> {
    let signed = |byte: u64| {
        i64::try_from(byte).map_err(|_| DataFusionError::Plan("a file is longer than can be counted".into()))
    };
    let size = signed(file.object_meta.size)?;
    let (from, to) = file.range.as_ref().map_or((0, size), |range| (range.start, range.end));
    let (start, end) = (from.max(signed(part.start)?), to.min(signed(part.end)?));
    if start >= end {
        return Ok(None);
    }
    let mut cut = file.clone();
    cut.range = ((start, end) != (0, size)).then_some(FileRange { start, end });
    Ok(Some(cut))
}
