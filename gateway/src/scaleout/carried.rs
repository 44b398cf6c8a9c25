//! What of a session's settings a worker needs, in the one form that travels.

use datafusion::common::{Result, extensions_options};
use datafusion::config::{ConfigExtension, ConfigNonZeroUsize, ConfigOptions};

extensions_options! {
    /// Settings that decide how a value is computed or handed on.
    pub(super) struct Carried {
        /// The session's time zone.
        pub(super) time_zone: String, default = "UTC".to_owned()
        /// Rows that operators pass on at once.
        pub(super) batch_rows: usize, default = 8192
    }
}

impl ConfigExtension for Carried {
    const PREFIX: &'static str = "portolan";
}

impl Carried {
    /// What a session's options say.
    pub(super) fn of(options: &ConfigOptions) -> Self {
        let mut carried = Self { batch_rows: options.execution.batch_size.get(), ..Self::default() };
        if let Some(zone) = &options.execution.time_zone {
            carried.time_zone.clone_from(zone);
        }
        carried
    }

    /// Makes a worker's options say it.
    ///
    /// # Errors
    /// When somebody told it batches without rows.
    pub(super) fn apply(&self, options: &mut ConfigOptions) -> Result<()> {
        options.execution.time_zone = Some(self.time_zone.clone());
        options.execution.batch_size = ConfigNonZeroUsize::try_new(self.batch_rows)?;
        Ok(())
    }
}
