//! Where the test servers live: folders, ports and passwords. It must never move what it gave out before: a server's
//! data, its port and its password stay together from one start to the next.
//!
//! Root's home is often closed to others, and PostgreSQL and MariaDB refuse to run as root. What they need then lies
//! in a folder of `/var/cache` that carries the name of the one in the cache.

use std::fs;
use std::io::Read;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::Kind;

/// Whom servers run as that refuse to be root: `nobody`, and its group.
pub(super) const NOBODY: u32 = 65534;

/// Ports of one set of servers: they follow each other from the base on.
pub(super) const PORTS: u16 = 13;

/// First port tried for a base, and the end of what is tried: below the range that Linux gives to clients.
const BASES: std::ops::Range<u16> = 23_300..32_000;

/// One set of servers.
#[derive(Debug)]
pub(super) struct Places {
    /// Lock, ports and the variables' file.
    home: PathBuf,
    /// Software, shared by every set.
    software: PathBuf,
    /// Whether this program runs as root.
    root: bool,
}

impl Places {
    /// The set in `home`, else the one in the cache folder.
    ///
    /// # Errors
    /// Neither `XDG_CACHE_HOME` nor `HOME` is set, or the folder cannot be made.
    pub(super) fn new(home: Option<&Path>) -> Result<Self> {
        let cache = std::env::var_os("XDG_CACHE_HOME")
            .map(PathBuf::from)
            .filter(|folder| folder.is_absolute())
            .or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache")))
            .context("find the cache folder: neither XDG_CACHE_HOME nor HOME is set")?
            .join("portolan/servers");
        let home = match home {
            Some(home) => std::path::absolute(home).with_context(|| format!("read {}", home.display()))?,
            None => cache.clone(),
        };
        for folder in [&cache, &home] {
            fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
            if folder.to_string_lossy().contains(char::is_whitespace) {
                bail!("servers cannot live in \"{}\": a name has white space; use --home", folder.display());
            }
        }
        let root = fs::metadata("/proc/self").context("read /proc: the test servers need Linux")?.uid() == 0;
        Ok(Self { home, software: cache.join("installed"), root })
    }

    pub(super) fn home(&self) -> &Path {
        &self.home
    }

    /// The file of variables that test suites read.
    pub(super) fn variables(&self) -> PathBuf {
        self.home.join("env")
    }

    /// Folder of one server: `data`, `log` and its configuration.
    pub(super) fn server(&self, kind: Kind) -> PathBuf {
        self.reachable(self.home.join(kind.name()), kind)
    }

    /// Folder under which the software of one server is installed.
    pub(super) fn software(&self, kind: Kind) -> PathBuf {
        self.reachable(self.software.clone(), kind)
    }

    /// Whom a server runs as, where that is not the caller.
    pub(super) fn drops_to(&self, kind: Kind) -> Option<u32> {
        (self.root && kind.refuses_root()).then_some(NOBODY)
    }

    /// `folder`, or its stand-in where `nobody` cannot get there.
    fn reachable(&self, folder: PathBuf, kind: Kind) -> PathBuf {
        if self.drops_to(kind).is_none() || open_to_others(&folder) {
            return folder;
        }
        let name = folder.to_string_lossy().trim_start_matches('/').replace('/', "-");
        Path::new("/var/cache/portolan").join(name)
    }

    /// The base of the ports: `wanted`, else the one of the last start, else free ones. `running` tells that servers
    /// of this set are up, whose ports are of course not free.
    ///
    /// # Errors
    /// No free range, or the choice cannot be written down.
    pub(super) fn port_base(&self, wanted: Option<u16>, running: bool) -> Result<u16> {
        let file = self.home.join("ports");
        let kept = fs::read_to_string(&file).ok().and_then(|text| text.trim().parse().ok());
        let base = match wanted.or(kept) {
            Some(base) if wanted.is_some() || running || all_free(base) => base,
            _ => BASES
                .step_by(20)
                .find(|base| all_free(*base))
                .with_context(|| format!("find {PORTS} free ports; choose some with --port-base"))?,
        };
        if base.checked_add(PORTS).is_none() || base == 0 {
            bail!("--port-base {base} leaves no room for {PORTS} ports");
        }
        write_whole(&file, &format!("{base}\n"), 0o644)?;
        Ok(base)
    }
}

/// Whether anyone may walk into `folder`, as far as it exists.
fn open_to_others(folder: &Path) -> bool {
    folder
        .ancestors()
        .filter_map(|part| fs::metadata(part).ok())
        .all(|found| found.permissions().mode() & 0o001 != 0)
}

fn all_free(base: u16) -> bool {
    (0..PORTS).all(|offset| base.checked_add(offset).is_some_and(is_free))
}

/// Whether a server could listen on this port of the loopback.
pub(super) fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

/// Makes a folder, and its parents, that others may walk through; `owner` gets it.
///
/// # Errors
/// The file system's.
pub(super) fn folder(path: &Path, owner: Option<u32>) -> Result<()> {
    let shown = || format!("make {}", path.display());
    let missing: Vec<&Path> = path.ancestors().take_while(|part| !part.exists()).collect();
    for part in missing.into_iter().rev() {
        match fs::create_dir(part) {
            // Another server's folder has the same parents.
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => continue,
            made => made.with_context(shown)?,
        }
        fs::set_permissions(part, fs::Permissions::from_mode(0o755)).with_context(shown)?;
    }
    if owner.is_some() {
        std::os::unix::fs::chown(path, owner, owner).with_context(shown)?;
    }
    Ok(())
}

/// A file to lock, made if it is not there.
///
/// # Errors
/// The file system's.
pub(super) fn lock_file(path: &Path) -> Result<fs::File> {
    fs::OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)
        .with_context(|| format!("open {}", path.display()))
}

/// Writes a file that is there as a whole or not at all.
///
/// # Errors
/// The file system's.
pub(super) fn write_whole(path: &Path, text: &str, mode: u32) -> Result<()> {
    let shown = || format!("write {}", path.display());
    let mut draft = path.as_os_str().to_owned();
    draft.push(".new");
    let draft = PathBuf::from(draft);
    fs::write(&draft, text).with_context(shown)?;
    fs::set_permissions(&draft, fs::Permissions::from_mode(mode)).with_context(shown)?;
    fs::rename(&draft, path).with_context(shown)
}

/// The password of a server's account, made once and kept beside its data.
///
/// # Errors
/// The file system's.
pub(super) fn password(server: &Path) -> Result<String> {
    let file = server.join("password");
    if let Ok(known) = fs::read_to_string(&file) {
        return Ok(known.trim().to_owned());
    }
    let mut random = [0_u8; 12];
    fs::File::open("/dev/urandom")
        .and_then(|mut source| source.read_exact(&mut random))
        .context("read /dev/urandom")?;
    let password: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    write_whole(&file, &password, 0o600)?;
    Ok(password)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_and_leaves_no_draft() {
        let folder_here = std::env::temp_dir().join(format!("portolan-places-{}", std::process::id()));
        folder(&folder_here, None).unwrap();
        let file = folder_here.join("env");
        write_whole(&file, "one", 0o600).unwrap();
        write_whole(&file, "two", 0o600).unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "two");
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(&folder_here).unwrap().count(), 1);
        assert_eq!(password(&folder_here).unwrap(), password(&folder_here).unwrap());
        fs::remove_dir_all(&folder_here).unwrap();
    }

    #[test]
    fn a_port_that_is_taken_is_not_free() {
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = taken.local_addr().unwrap().port();
        assert!(!is_free(port));
        drop(taken);
        assert!(is_free(port));
    }
}
