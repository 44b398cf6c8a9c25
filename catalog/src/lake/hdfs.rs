//! HDFS as an object store that always answers: within a time, with all bytes, or with an error.
//!
//! The client underneath waits for ever for a stopped DataNode or a frozen NameNode, panics when a file is shorter
//! than its NameNode said a moment ago, and does not look for another replica when one sends nothing. Here every
//! call has a limit, reading is tried again, and a panic is an error. Writing is never tried again: a call that was
//! given up may still be carried out, and only the table's log knows.

use std::fmt;
use std::future::Future;
use std::ops::Range;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Once};
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use deltalake::DeltaResult;
use deltalake::logstore::{
    ObjectStoreFactory, ObjectStoreRef, StorageConfig, logstore_factories, object_store_factories,
};
use deltalake_hdfs::HdfsFactory;
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt};
use hdfs_native_object_store::HdfsObjectStoreBuilder;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetRange, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions, Result, UploadPart,
};
use url::Url;

use super::trouble::Trouble;

/// How long one call may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoreLimits {
    /// Asking the NameNode once, and reading up to 64 MiB once.
    pub call: Duration,
    /// Writing a file; a second for every MiB comes on top.
    pub write: Duration,
}

impl Default for StoreLimits {
    fn default() -> Self {
        Self { call: Duration::from_secs(10), write: Duration::from_secs(30) }
    }
}

/// Answers up to this size are read whole before they are handed on, so that reading can be tried again.
const WHOLE: u64 = 64 * 1024 * 1024;

/// How often reading is tried. The NameNode names the replicas anew each time.
const TRIES: u32 = 3;

/// Opens the store a URL names. Contacts nobody yet.
pub(super) fn open(url: &Url, limits: StoreLimits) -> Result<Arc<dyn ObjectStore>> {
    install();
    let store = HdfsObjectStoreBuilder::new().with_url(url.as_str()).build()?;
    Ok(Arc::new(Limited { inner: Arc::new(store), limits }))
}

/// Makes Delta tables on HDFS known, once for the process.
fn install() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        for scheme in ["hdfs://", "viewfs://"] {
            if let Ok(url) = Url::parse(scheme) {
                object_store_factories().insert(url.clone(), Arc::new(LimitedFactory));
                logstore_factories().insert(url, Arc::new(HdfsFactory::default()));
            }
        }
    });
}

/// Builds the store where Delta opens a table by its URL alone.
#[derive(Debug)]
struct LimitedFactory;

impl ObjectStoreFactory for LimitedFactory {
    fn parse_url_opts(&self, url: &Url, config: &StorageConfig) -> DeltaResult<(ObjectStoreRef, Path)> {
        let store = HdfsObjectStoreBuilder::new().with_url(url.as_str()).with_config(&config.raw).build()?;
        let store = Limited { inner: Arc::new(store), limits: StoreLimits::default() };
        Ok((Arc::new(store), Path::parse(url.path())?))
    }
}

/// Any store behind the limits.
#[derive(Debug)]
struct Limited {
    inner: Arc<dyn ObjectStore>,
    limits: StoreLimits,
}

impl fmt::Display for Limited {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} with limits", self.inner)
    }
}

/// Waits for a call as long as it may take; a panic inside is bytes that were not there.
async fn limited<T>(what: &'static str, limit: Duration, call: impl Future<Output = Result<T>>) -> Result<T> {
    match tokio::time::timeout(limit, AssertUnwindSafe(call).catch_unwind()).await {
        Ok(Ok(outcome)) => outcome.map_err(Trouble::explain),
        Ok(Err(_)) => Err(Trouble::short(what).into()),
        Err(_) => Err(Trouble::stalled(what, limit).into()),
    }
}

/// A file's length by what is written, and a second for each MiB of it.
fn write_limit(limits: StoreLimits, bytes: usize) -> Duration {
    limits.write + Duration::from_secs(u64::try_from(bytes >> 20).unwrap_or(u64::MAX / 2))
}

impl Limited {
    /// One reading: whole if it is small, else as a stream of which no part may take too long.
    async fn get_once(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        const WHAT: &str = "reading a file";
        let found = limited(WHAT, self.limits.call, self.inner.get_opts(location, options)).await?;
        let GetResult { payload, meta, range, attributes } = found;
        let GetResultPayload::Stream(stream) = payload else {
            return Ok(GetResult { payload, meta, range, attributes });
        };
        let expected = range.end.saturating_sub(range.start);
        let limit = self.limits.call;
        let stream = if expected <= WHOLE {
            let bytes = limited(WHAT, limit, collect(stream, expected)).await?;
            if u64::try_from(bytes.len()).unwrap_or(u64::MAX) != expected {
                return Err(Trouble::short(WHAT).into());
            }
            futures::stream::once(std::future::ready(Ok(bytes))).boxed()
        } else {
            paced(stream, limit, WHAT)
        };
        Ok(GetResult { payload: GetResultPayload::Stream(stream), meta, range, attributes })
    }
}

async fn collect(mut stream: BoxStream<'static, Result<Bytes>>, expected: u64) -> Result<Bytes> {
    let mut bytes = BytesMut::with_capacity(usize::try_from(expected).unwrap_or_default());
    while let Some(part) = stream.next().await {
        bytes.extend_from_slice(&part?);
    }
    Ok(bytes.freeze())
}

/// A stream of which no item may take too long; it ends with the first error.
fn paced<T: Send + 'static>(
    stream: BoxStream<'static, Result<T>>,
    limit: Duration,
    what: &'static str,
) -> BoxStream<'static, Result<T>> {
    futures::stream::unfold(Some(stream), move |state| async move {
        let mut stream = state?;
        let next = limited(what, limit, async { Ok(stream.next().await) }).await;
        match next {
            Ok(None) => None,
            Ok(Some(Ok(item))) => Some((Ok(item), Some(stream))),
            Ok(Some(Err(error))) => Some((Err(Trouble::explain(error)), None)),
            Err(error) => Some((Err(error), None)),
        }
    })
    .boxed()
}

/// Whether an empty file must be one that is not all there yet: entries of a log never are empty.
fn unfinished(location: &Path, meta: &ObjectMeta) -> bool {
    meta.size == 0
        && location.parts().any(|part| part.as_ref() == "_delta_log")
        && location.extension().is_some_and(|extension| extension == "json" || extension == "parquet")
}

#[async_trait]
impl ObjectStore for Limited {
    async fn put_opts(&self, location: &Path, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
        let limit = write_limit(self.limits, payload.content_length());
        limited("writing a file", limit, self.inner.put_opts(location, payload, opts)).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        opts: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        let call = self.inner.put_multipart_opts(location, opts);
        let inner = limited("writing a file", self.limits.call, call).await?;
        Ok(Box::new(LimitedUpload { inner, limits: self.limits }))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let head = options.head;
        let mut tries = 0;
        loop {
            tries += 1;
            let outcome = self.get_once(location, options.clone()).await;
            let again = match &outcome {
                Ok(found) => !head && unfinished(location, &found.meta),
                Err(error) => Trouble::may_pass(error),
            };
            if !again {
                return outcome;
            }
            if tries >= TRIES {
                return outcome.and_then(|_| Err(Trouble::short("reading a file").into()));
            }
            tokio::time::sleep(Duration::from_millis(5 << (3 * tries))).await;
        }
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        let one = |range: Range<u64>| async move {
            let options = GetOptions { range: Some(GetRange::Bounded(range)), ..GetOptions::default() };
            self.get_opts(location, options).await?.bytes().await
        };
        object_store::coalesce_ranges(ranges, one, object_store::OBJECT_STORE_COALESCE_DEFAULT).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        paced(self.inner.delete_stream(locations), self.limits.call, "deleting a file")
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        paced(self.inner.list(prefix), self.limits.call, "listing a folder")
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        limited("listing a folder", self.limits.call, self.inner.list_with_delimiter(prefix)).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        limited("copying a file", self.limits.write, self.inner.copy_opts(from, to, options)).await
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        limited("renaming a file", self.limits.call, self.inner.rename_opts(from, to, options)).await
    }
}

/// A file written in parts, behind the limits.
#[derive(Debug)]
struct LimitedUpload {
    inner: Box<dyn MultipartUpload>,
    limits: StoreLimits,
}

#[async_trait]
impl MultipartUpload for LimitedUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        let limit = write_limit(self.limits, data.content_length());
        let part = self.inner.put_part(data);
        limited("writing a file", limit, part).boxed()
    }

    async fn complete(&mut self) -> Result<PutResult> {
        limited("writing a file", self.limits.write, self.inner.complete()).await
    }

    async fn abort(&mut self) -> Result<()> {
        limited("writing a file", self.limits.write, self.inner.abort()).await
    }
}

#[cfg(test)]
mod tests {
    use object_store::ObjectStoreExt;
    use object_store::memory::InMemory;

    use super::*;

    fn limits() -> StoreLimits {
        StoreLimits { call: Duration::from_millis(50), write: Duration::from_millis(50) }
    }

    #[tokio::test]
    async fn what_never_answers_is_given_up_and_what_panics_is_an_error() {
        let stalled = limited::<()>("x", limits().call, std::future::pending()).await.unwrap_err();
        assert!(stalled.to_string().contains("x took longer than 50ms"), "{stalled}");
        let panicked = limited::<()>("x", limits().call, async { panic!("past the end") }).await.unwrap_err();
        assert!(panicked.to_string().contains("fewer bytes"), "{panicked}");
        let mut silent = paced::<u8>(futures::stream::pending().boxed(), limits().call, "x");
        assert!(silent.next().await.unwrap().is_err());
        assert!(silent.next().await.is_none(), "an error ends a stream");
    }

    #[tokio::test]
    async fn bytes_pass_and_an_empty_entry_of_a_log_is_not_believed() {
        let store = Limited { inner: Arc::new(InMemory::new()), limits: limits() };
        let (file, entry) = (Path::from("t/a.parquet"), Path::from("t/_delta_log/00000000000000000000.json"));
        store.put(&file, PutPayload::from_static(b"0123456789")).await.unwrap();
        store.put(&entry, PutPayload::new()).await.unwrap();
        assert_eq!(store.get_range(&file, 2..5).await.unwrap(), "234");
        assert_eq!(store.get_ranges(&file, &[0..1, 8..10]).await.unwrap(), ["0", "89"]);
        assert_eq!(store.head(&entry).await.unwrap().size, 0);
        assert!(store.get(&entry).await.is_err());
        assert!(matches!(store.get(&Path::from("none")).await, Err(object_store::Error::NotFound { .. })));
    }
}
