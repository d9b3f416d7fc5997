//! How much memory a run may take: that of the machine, or less where the process is in a control group with a limit.

use std::fmt::{self, Display};
#[cfg(target_os = "linux")]
use std::path::Path;

/// Memory that a run may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    /// How much.
    pub bytes: u64,
    /// Whose it is.
    pub whose: Whose,
}

/// What has, or allows, so much memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whose {
    /// The machine.
    Machine,
    /// A control group that allows less than the machine has, as in a container or a job of a cluster.
    ControlGroup,
    /// A GPU, which has a memory of its own.
    Gpu,
}

impl Memory {
    /// That of a GPU.
    pub fn of_gpu(bytes: u64) -> Self {
        let whose = Whose::Gpu;
        Self { bytes, whose }
    }

    /// What this process may take, where the system tells.
    pub fn found() -> Option<Self> {
        #[cfg(target_os = "linux")]
        {
            let info = rustix::system::sysinfo();
            let total = info.totalram as u64 * u64::from(info.mem_unit);
            Some(Self::within(total, control_group::limit(Path::new("/"))))
        }
        #[cfg(not(target_os = "linux"))]
        None
    }

    /// The smaller of what a machine has and what a control group allows.
    #[cfg(target_os = "linux")]
    fn within(total: u64, limit: Option<u64>) -> Self {
        // Without a limit the first version of control groups states a number that no machine has.
        let limit = limit.filter(|limit| *limit < total);
        Self {
            bytes: limit.unwrap_or(total),
            whose: limit.map_or(Whose::Machine, |_| Whose::ControlGroup),
        }
    }
}

impl Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let gib = self.bytes as f64 / 2f64.powi(30);
        match self.whose {
            Whose::Machine => write!(f, "the {gib:.1} GiB of the machine"),
            Whose::ControlGroup => write!(f, "the {gib:.1} GiB that the control group allows"),
            Whose::Gpu => write!(f, "the {gib:.1} GiB of the GPU"),
        }
    }
}

/// Limits of control groups, of both versions, nested.
///
/// Source: Linux, Documentation/admin-guide/cgroup-v1/memory.rst and cgroup-v2.rst; `cgroups(7)`.
#[cfg(target_os = "linux")]
mod control_group {
    use std::fs;
    use std::path::{Path, PathBuf};

    /// The smallest limit of the groups that this process is in; `root` is the folder that all paths begin at.
    pub(super) fn limit(root: &Path) -> Option<u64> {
        let of_process = |name: &str| fs::read_to_string(root.join("proc/self").join(name));
        let (groups, mounts) = (of_process("cgroup").ok()?, of_process("mountinfo").ok()?);
        let mounts = mounts.lines().filter_map(Mount::of);
        mounts.filter_map(|mount| mount.limit(root, &groups)).min()
    }

    /// Where groups are shown whose memory is limited.
    struct Mount<'a> {
        /// The group that is shown as the topmost.
        top: &'a str,
        place: &'a str,
        is_second_version: bool,
    }

    impl<'a> Mount<'a> {
        /// A line of `mountinfo`, if it is of such a place.
        fn of(line: &'a str) -> Option<Self> {
            let (place, kind) = line.split_once(" - ")?;
            let mut place = place.split(' ').skip(3);
            let mut kind = kind.split(' ');
            let (name, options) = (kind.next()?, kind.nth(1)?);
            let is_first_version = name == "cgroup" && options.split(',').any(|it| it == "memory");
            let is_second_version = name == "cgroup2";
            (is_first_version || is_second_version).then_some(Self {
                top: place.next()?,
                place: place.next()?,
                is_second_version,
            })
        }

        /// The smallest limit of this process' group and of those that it lies in.
        fn limit(&self, root: &Path, groups: &str) -> Option<u64> {
            let group = groups.lines().find_map(|line| self.group(line))?;
            // In a container the group may be told as the host sees it: then the topmost is the process' own.
            let below = group.strip_prefix(self.top).unwrap_or_default();
            let top = root.join(self.place.trim_start_matches('/'));
            let file = if self.is_second_version {
                "memory.max"
            } else {
                "memory.limit_in_bytes"
            };
            let own: PathBuf = top.join(below.trim_start_matches('/'));
            let nested = own.ancestors().take_while(|path| path.starts_with(&top));
            // No limit is stated as `max`, which is no number.
            let stated = nested.filter_map(|path| fs::read_to_string(path.join(file)).ok());
            stated.filter_map(|text| text.trim().parse().ok()).min()
        }

        /// The group that a line of `cgroup` states for groups of this version.
        fn group<'g>(&self, line: &'g str) -> Option<&'g str> {
            let (controllers, group) = line.split_once(':')?.1.split_once(':')?;
            let is_meant = if self.is_second_version {
                controllers.is_empty()
            } else {
                controllers.split(',').any(|name| name == "memory")
            };
            is_meant.then_some(group)
        }
    }
}

#[cfg(target_os = "linux")]
#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use tempfile::TempDir;

    /// A folder with these files, and the folders that they are in.
    fn machine(files: &[(&str, &str)]) -> TempDir {
        let root = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = root.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        root
    }

    const SECOND: &str = "31 23 0:28 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
    const FIRST: &str = "30 23 0:27 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n\
        35 31 0:32 / /sys/fs/cgroup/memory rw,relatime shared:5 - cgroup cgroup rw,memory\n\
        41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";

    fn limit_of(files: &[(&str, &str)]) -> Option<u64> {
        control_group::limit(machine(files).path())
    }

    #[test]
    fn the_smallest_limit_of_nested_groups_counts_in_both_versions() {
        let second = [
            ("proc/self/mountinfo", SECOND),
            ("proc/self/cgroup", "0::/jobs/job7/step0\n"),
            ("sys/fs/cgroup/jobs/memory.max", "8589934592\n"),
            ("sys/fs/cgroup/jobs/job7/memory.max", "1073741824\n"),
            ("sys/fs/cgroup/jobs/job7/step0/memory.max", "max\n"),
            ("sys/fs/cgroup/jobs/job8/memory.max", "5\n"),
        ];
        assert_eq!(limit_of(&second), Some(1 << 30));
        let first = [
            ("proc/self/mountinfo", FIRST),
            (
                "proc/self/cgroup",
                "5:cpu:/other\n4:memory:/slurm/job7\n0::/\n",
            ),
            (
                "sys/fs/cgroup/memory/memory.limit_in_bytes",
                "9223372036854771712\n",
            ),
            (
                "sys/fs/cgroup/memory/slurm/memory.limit_in_bytes",
                "2147483648\n",
            ),
            (
                "sys/fs/cgroup/memory/slurm/job7/memory.limit_in_bytes",
                "3221225472\n",
            ),
        ];
        assert_eq!(limit_of(&first), Some(2 << 30));
    }

    #[test]
    fn in_a_container_the_topmost_group_that_is_shown_is_its_own() {
        for (mount, group) in [
            (
                "31 23 0:28 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n",
                "0::/\n",
            ),
            (
                "31 23 0:28 /../.. /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n",
                "0::/docker/a1\n",
            ),
            (
                "31 23 0:28 /docker/a1 /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n",
                "0::/docker/a1\n",
            ),
        ] {
            let files = [
                ("proc/self/mountinfo", mount),
                ("proc/self/cgroup", group),
                ("sys/fs/cgroup/memory.max", "1073741824\n"),
            ];
            assert_eq!(limit_of(&files), Some(1 << 30), "{mount}{group}");
        }
    }

    #[test]
    fn without_groups_or_limits_the_machine_counts() {
        assert_eq!(limit_of(&[]), None);
        let none = [
            ("proc/self/mountinfo", SECOND),
            ("proc/self/cgroup", "0::/\n"),
        ];
        assert_eq!(limit_of(&none), None);
        let memory = |limit| Memory::within(16 << 30, limit);
        let whole = Memory {
            bytes: 16 << 30,
            whose: Whose::Machine,
        };
        assert_eq!(memory(None), whole);
        assert_eq!(memory(Some(9_223_372_036_854_771_712)), whole);
        assert_eq!(
            memory(Some(1 << 30)).to_string(),
            "the 1.0 GiB that the control group allows"
        );
        assert_eq!(memory(None).to_string(), "the 16.0 GiB of the machine");
        assert_eq!(
            Memory::of_gpu(80 << 30).to_string(),
            "the 80.0 GiB of the GPU"
        );
        assert!(Memory::found().unwrap().bytes > 0);
    }
}
