//! Parquet files of one fragment, read by several tasks at once.
//!
//! The engine divides a scan by ranges of bytes, and a range reads the row groups that begin in it; a file that was
//! written in one go is often one row group, and then one task reads it and the others wait. Here such a file is cut
//! between its pages: each part names the rows it reads, and those of all parts are the file's, each once. Streams of
//! one scan take parts from a common queue, so there are more parts than streams: who is done early helps. A plan with a
//! limit is left alone, since it counts the rows of one stream; nothing may rely on the order of the others' rows.

use std::collections::{HashMap, VecDeque};
use std::num::NonZero;
use std::ops::Range;
use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::parquet::{ParquetAccessPlan, ParquetRowSelection};
use datafusion::datasource::physical_plan::{
    FileGroup, FileScanConfig, ParquetFileReaderFactory, ParquetSource,
};
use datafusion::datasource::source::DataSourceExec;
use datafusion::error::DataFusionError;
use datafusion::physical_expr::Partitioning;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;
use datafusion::physical_plan::repartition::RepartitionExec;
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use parquet::arrow::arrow_reader::{ArrowReaderOptions, RowSelection};
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaData, RowGroupMetaData};

/// Scans of fewer bytes are read by one task: starting others takes longer.
const LEAST_BYTES: u64 = 512 * 1024;
/// No part is made of fewer rows: opening one takes as long as decoding some thousands.
const LEAST_ROWS: usize = 32 * 1024;
/// Parts for each task, so that one that found little helps the others.
const PARTS: u64 = 2;
/// Most tasks of one scan; each holds a row group's pages, or its share of them.
const MOST_READERS: usize = 8;
/// Footers that are asked for at a time.
const SIDE_BY_SIDE: usize = 8;
/// A scan of more files has parts enough.
const MANY_FILES: usize = 4_096;

/// How many tasks read one fragment: as many as there are cores, within reason.
pub(crate) fn readers() -> usize {
    std::thread::available_parallelism().map_or(1, NonZero::get).min(MOST_READERS)
}

/// The plan with its Parquet scans divided among so many tasks: it then has as many streams, and all of them must be
/// run, once. Rows come in another order. A plan with a limit stays as it is.
///
/// # Errors
/// When a footer that is needed cannot be read.
pub(crate) async fn in_parts(plan: Arc<dyn ExecutionPlan>, readers: usize) -> Result<Arc<dyn ExecutionPlan>> {
    if readers < 2 {
        return Ok(plan);
    }
    let mut scans = Vec::new();
    let mut limited = false;
    plan.apply(|node| {
        limited |= node.fetch().is_some();
        if divisible(node).is_some() {
            scans.push(Arc::clone(node));
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    // The engine counts in each stream where it saw only one.
    if limited {
        return Ok(plan);
    }
    let mut dealt = VecDeque::with_capacity(scans.len());
    for scan in &scans {
        dealt.push_back(match divisible(scan) {
            Some((scan, source)) => groups(scan, source, readers).await?,
            None => None,
        });
    }
    if dealt.iter().all(Option::is_none) {
        return Ok(plan);
    }
    // Leaves are met in the order they were listed.
    let made = plan.transform_up(|node| {
        if let Some((scan, _)) = divisible(&node) {
            let Some(Some(groups)) = dealt.pop_front() else { return Ok(Transformed::no(node)) };
            let mut scan = scan.clone();
            scan.file_groups = groups;
            let divided: Arc<dyn ExecutionPlan> = DataSourceExec::from_data_source(scan);
            return Ok(Transformed::yes(divided));
        }
        // It made several streams of one, which there are now anyway.
        match node.downcast_ref::<RepartitionExec>() {
            Some(dealing) if matches!(dealing.partitioning(), Partitioning::RoundRobinBatch(_)) => {
                Ok(Transformed::yes(Arc::clone(dealing.input())))
            }
            _ => Ok(Transformed::no(node)),
        }
    })?;
    Ok(made.data)
}

/// The scan of a node whose rows may be read in any order by anybody.
fn divisible(node: &Arc<dyn ExecutionPlan>) -> Option<(&FileScanConfig, &ParquetSource)> {
    let scan = node.downcast_ref::<DataSourceExec>()?.data_source().downcast_ref::<FileScanConfig>()?;
    let free = scan.limit.is_none()
        && !scan.preserve_order
        && scan.output_ordering.is_empty()
        && scan.output_partitioning.is_none();
    let source = scan.file_source.downcast_ref::<ParquetSource>()?;
    free.then_some((scan, source))
}

/// The files of a scan for so many streams; `None` if it stays as it is.
async fn groups(
    scan: &FileScanConfig,
    source: &ParquetSource,
    readers: usize,
) -> Result<Option<Vec<FileGroup>>> {
    let files: Vec<&PartitionedFile> = scan.file_groups.iter().flat_map(FileGroup::iter).collect();
    let told = files.iter().any(|file| {
        file.extension::<ParquetAccessPlan>().is_some() || file.extension::<ParquetRowSelection>().is_some()
    });
    if files.is_empty() || files.len() > MANY_FILES || told {
        return Ok(None);
    }
    let bytes: u64 = files.iter().map(|file| length(file)).sum();
    if bytes < LEAST_BYTES {
        let all = FileGroup::new(files.into_iter().cloned().collect());
        return Ok(Some(vec![all]));
    }
    let Some(factory) = source.parquet_file_reader_factory() else { return Ok(None) };
    let streams = u64::try_from(readers).unwrap_or(1);
    let each = (bytes / (streams * PARTS)).max(LEAST_BYTES / 2);
    let mut large: HashMap<&Path, &PartitionedFile> = HashMap::new();
    for file in files.iter().filter(|file| length(file) > each) {
        large.entry(&file.object_meta.location).or_insert(*file);
    }
    let hint = source.table_parquet_options().global.metadata_size_hint;
    let asked: Vec<_> =
        large.into_values().map(|file| footer(Arc::clone(factory), file.clone(), hint)).collect();
    let footers: HashMap<Path, Arc<ParquetMetaData>> =
        futures::stream::iter(asked).buffered(SIDE_BY_SIDE).try_collect().await?;
    let mut parts = Vec::with_capacity(files.len());
    for file in files {
        match footers.get(&file.object_meta.location).and_then(|known| cut(file, known, each)) {
            Some(cut) => parts.extend(cut),
            None => parts.push(file.clone()),
        }
    }
    Ok((!parts.is_empty()).then(|| deal(parts, readers)))
}

/// Bytes of a file, or of the part of it that a scan reads.
fn length(file: &PartitionedFile) -> u64 {
    match &file.range {
        Some(range) => u64::try_from(range.end.saturating_sub(range.start)).unwrap_or(0),
        None => file.object_meta.size,
    }
}

/// What a file's footer and its pages' index tell, by the scan's own way to them: it finds them kept when it opens the
/// file.
async fn footer(
    factory: Arc<dyn ParquetFileReaderFactory>,
    file: PartitionedFile,
    hint: Option<usize>,
) -> Result<(Path, Arc<ParquetMetaData>)> {
    let place = file.object_meta.location.clone();
    let hint = file.metadata_size_hint.or(hint);
    let mut reader = factory.create_reader(0, file, hint, &ExecutionPlanMetricsSet::new())?;
    let options = ArrowReaderOptions::new().with_page_index_policy(PageIndexPolicy::Optional);
    let known = reader.get_metadata(Some(&options)).await.map_err(DataFusionError::from)?;
    Ok((place, known))
}

/// Parts among streams, in their order, as evenly as they can be.
fn deal(parts: Vec<PartitionedFile>, readers: usize) -> Vec<FileGroup> {
    let streams = readers.min(parts.len()).max(1);
    let all = parts.len();
    let mut rest = parts.into_iter();
    (0..streams)
        .map(|stream| {
            let share = all * (stream + 1) / streams - all * stream / streams;
            FileGroup::new(rest.by_ref().take(share).collect())
        })
        .collect()
}

/// The parts of about so many bytes of a file, or of a part of it; `None` if it is not cut. None at all where nothing
/// begins in the range that is read.
fn cut(file: &PartitionedFile, known: &ParquetMetaData, each: u64) -> Option<Vec<PartitionedFile>> {
    let mut all = 0_usize;
    let mut bytes = 0_u64;
    let mut read: Vec<Read> = Vec::new();
    for (number, group) in known.row_groups().iter().enumerate() {
        let first = all;
        all = all.checked_add(usize::try_from(group.num_rows()).ok()?)?;
        let begins = first_byte(group)?;
        if file.range.as_ref().is_none_or(|range| range.contains(begins)) {
            bytes = bytes.saturating_add(u64::try_from(group.compressed_size()).unwrap_or(0));
            read.push(Read { group: number, rows: first..all });
        }
    }
    if read.is_empty() {
        return Some(vec![]);
    }
    let rows: usize = read.iter().map(|read| read.rows.len()).sum();
    let wanted = usize::try_from(bytes.div_ceil(each.max(1))).ok()?.min(rows / LEAST_ROWS);
    let places = places(&read, known);
    let mut ends: Vec<usize> = (1..wanted).map(|part| nearest(&places, share(rows, part, wanted))).collect();
    ends.push(rows);
    ends.dedup();
    let mut from = 0;
    let mut parts = Vec::with_capacity(ends.len());
    for end in ends.into_iter().filter(|end| *end > 0) {
        let selected = selected(&read, from..end);
        let selection = RowSelection::from_consecutive_ranges(selected.into_iter(), all);
        parts.push(file.clone().with_extension(ParquetRowSelection::new(selection)));
        from = end;
    }
    (parts.len() > 1).then_some(parts)
}

/// A row group that is read, and which of the file's rows are in it.
struct Read {
    group: usize,
    rows: Range<usize>,
}

/// So many parts of a number of rows.
fn share(rows: usize, part: usize, parts: usize) -> usize {
    let parts = parts.max(1);
    rows / parts * part + rows % parts * part / parts
}

/// Where the first page of a row group begins; ranges of bytes are told apart by it.
fn first_byte(group: &RowGroupMetaData) -> Option<i64> {
    let column = group.columns().first()?;
    Some(column.dictionary_page_offset().unwrap_or_else(|| column.data_page_offset()))
}

/// Where the rows that are read may be cut, ascending, counted from the first of them: where a row group begins, and
/// where a page does, if the file says where that is. Values of lists are left together: a page of them may end within
/// a row.
fn places(read: &[Read], known: &ParquetMetaData) -> Vec<usize> {
    let flat =
        known.file_metadata().schema_descr().columns().iter().all(|column| column.max_rep_level() == 0);
    let mut places = Vec::new();
    let mut begins = 0;
    for Read { group, rows } in read {
        places.push(begins);
        let pages = known.offset_index().filter(|_| flat).and_then(|index| index.get(*group));
        // Columns with few pages are cut within one; what is decoded twice then is less than a page.
        let finest = pages.into_iter().flatten().max_by_key(|column| column.page_locations().len());
        let firsts = finest.into_iter().flat_map(|column| column.page_locations());
        places.extend(
            firsts
                .filter_map(|page| usize::try_from(page.first_row_index).ok())
                .filter(|first| (1..rows.len()).contains(first))
                .map(|first| begins + first),
        );
        begins += rows.len();
    }
    places
}

/// The place that is nearest to a wanted one; the wanted one is after the first.
fn nearest(places: &[usize], wanted: usize) -> usize {
    let after = places.partition_point(|place| *place < wanted);
    let below = after.checked_sub(1).and_then(|at| places.get(at)).copied();
    match (below, places.get(after).copied()) {
        (Some(below), Some(above)) if wanted - below <= above - wanted => below,
        (_, Some(above)) => above,
        (Some(below), None) => below,
        (None, None) => wanted,
    }
}

/// Rows of the file that are some of those that are read.
fn selected(read: &[Read], wanted: Range<usize>) -> Vec<Range<usize>> {
    let mut begins = 0;
    let mut found = Vec::new();
    for Read { rows, .. } in read {
        let (from, to) = (wanted.start.max(begins), wanted.end.min(begins + rows.len()));
        if from < to {
            found.push(rows.start + (from - begins)..rows.start + (to - begins));
        }
        begins += rows.len();
    }
    found
}

#[cfg(test)]
mod tests;
