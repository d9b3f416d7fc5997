//! The functions of MPI, found in a library when the program runs.
//!
//! Their signatures are the same in every MPI; what differs is what names the world, the type of a byte and the handler of
//! errors. Three families are in use: the standard's own interface (MPI 5), Open MPI, and MPICH with its kin.
//!
//! Source: MPI 5.0, appendix A and chapter 20 (the interface in binary); `mpi.h` of Open MPI 4.1 and of MPICH 5.0.

use std::ffi::{c_char, c_int, c_void};
use std::mem;
use std::path::Path;
use std::ptr;

use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_NOW, Symbol};

/// What MPI calls a handle: an address (the standard, Open MPI) or a number of 32 bits (MPICH). Either is passed in one register, of
/// which the callee reads what it needs.
type Handle = usize;

/// Bytes in a text that MPI writes, at most.
///
/// Source: the largest `MPI_MAX_LIBRARY_VERSION_STRING` in use, that of MPICH.
const TEXT_BYTES: usize = 8192;
/// Room for the status of a call, in which nobody looks; the largest in use takes 32 bytes.
type Status = [u64; 8];

macro_rules! calls {
    ($($name:ident = $symbol:literal ($($argument:ty),*);)+) => {
        /// The functions that are used.
        #[derive(Debug)]
        struct Calls {
            $($name: unsafe extern "C" fn($($argument),*) -> c_int,)+
        }

        impl Calls {
            fn of(library: &Library) -> Result<Self, libloading::Error> {
                Ok(Self {
                    // SAFETY: the signatures are those of MPI's interface in C, with handles as above.
                    $($name: *unsafe { library.get::<unsafe extern "C" fn($($argument),*) -> c_int>($symbol) }?,)+
                })
            }
        }
    };
}

calls! {
    init_thread = "MPI_Init_thread" (*mut c_int, *mut c_void, c_int, *mut c_int);
    comm_set_errhandler = "MPI_Comm_set_errhandler" (Handle, Handle);
    comm_rank = "MPI_Comm_rank" (Handle, *mut c_int);
    comm_size = "MPI_Comm_size" (Handle, *mut c_int);
    all_to_all = "MPI_Ialltoall" (*const u8, c_int, Handle, *mut u8, c_int, Handle, Handle, *mut Handle);
    all_gather = "MPI_Iallgather" (*const u8, c_int, Handle, *mut u8, c_int, Handle, Handle, *mut Handle);
    gather = "MPI_Igather" (*const u8, c_int, Handle, *mut u8, c_int, Handle, c_int, Handle, *mut Handle);
    broadcast = "MPI_Ibcast" (*mut u8, c_int, Handle, c_int, Handle, *mut Handle);
    barrier = "MPI_Ibarrier" (Handle, *mut Handle);
    test = "MPI_Test" (*mut Handle, *mut c_int, *mut Status);
    error_string = "MPI_Error_string" (c_int, *mut c_char, *mut c_int);
    library_version = "MPI_Get_library_version" (*mut c_char, *mut c_int);
    finalize = "MPI_Finalize" ();
    abort = "MPI_Abort" (Handle, c_int);
}

/// What differs between the families.
#[derive(Debug, Clone, Copy)]
struct Names {
    world: Handle,
    byte: Handle,
    errors_return: Handle,
    /// The level of threads at which any thread may call, one at a time.
    serialized: c_int,
}

impl Names {
    const STANDARD: Self = Self {
        world: 0x101,
        byte: 0x247,
        errors_return: 0x143,
        serialized: 2048,
    };
    const MPICH: Self = Self {
        world: 0x4400_0000,
        byte: 0x4c00_010d,
        errors_return: 0x5400_0001,
        serialized: 2,
    };

    /// Those of Open MPI are addresses within the library; none where it is another one.
    fn of_open_mpi(library: &Library) -> Option<Self> {
        let address = |name: &str| {
            // SAFETY: the address alone is taken; nothing is read there.
            let symbol: Option<Symbol<*mut c_void>> = unsafe { library.get(name) }.ok();
            symbol.map(|symbol| symbol.as_raw_ptr() as Handle)
        };
        Some(Self {
            world: address("ompi_mpi_comm_world")?,
            byte: address("ompi_mpi_byte")?,
            errors_return: address("ompi_mpi_errors_return")?,
            serialized: 2,
        })
    }

    /// By what the library has and what it calls itself; none of a family that is not known.
    fn of(library: &Library, path: &Path, version: &str) -> Option<Self> {
        let file = path.file_name().unwrap_or_default().to_string_lossy();
        if file.starts_with("libmpi_abi.") {
            return Some(Self::STANDARD);
        }
        // Those that have agreed on MPICH's interface in binary.
        let kin = ["MPICH", "Intel", "MVAPICH", "CRAY", "ParaStation"];
        let is_kin = || kin.iter().any(|name| version.contains(name));
        Self::of_open_mpi(library).or_else(|| is_kin().then_some(Self::MPICH))
    }
}

/// An MPI library in use.
#[derive(Debug)]
pub(crate) struct Mpi {
    calls: Calls,
    names: Names,
    version: String,
}

/// A call under way, and the memory that it reads and writes, which stays where it is until the call is done.
#[derive(Debug)]
pub(crate) struct Pending {
    request: Handle,
    is_done: bool,
    sent: Vec<u8>,
    received: Vec<u8>,
}

/// Memory of a call that is done.
#[derive(Debug, Default)]
pub(crate) struct Done {
    pub(crate) sent: Vec<u8>,
    pub(crate) received: Vec<u8>,
}

impl Drop for Pending {
    fn drop(&mut self) {
        if !self.is_done {
            // The library may still write there: this memory is never given back.
            mem::forget(mem::take(&mut self.sent));
            mem::forget(mem::take(&mut self.received));
        }
    }
}

impl Pending {
    fn new(memory: Done) -> Self {
        Self {
            request: 0,
            is_done: false,
            sent: memory.sent,
            received: memory.received,
        }
    }

    /// The memory of a call that is done.
    pub(crate) fn memory(mut self) -> Done {
        Done {
            sent: mem::take(&mut self.sent),
            received: mem::take(&mut self.received),
        }
    }
}

impl Mpi {
    /// Loads a library.
    ///
    /// # Errors
    /// What the system says where there is none of that name; the inner one where it cannot be used.
    pub(crate) fn load(path: &Path) -> Result<Result<Self, String>, libloading::Error> {
        // SAFETY: an MPI library may be loaded at any time. Global, since its plugins look for its symbols.
        let library = unsafe { Library::open(Some(path), RTLD_NOW | RTLD_GLOBAL) }?;
        let found = Self::of(&library, path);
        // Never unloaded: its threads and functions are in use until the process ends.
        mem::forget(library);
        Ok(found)
    }

    fn of(library: &Library, path: &Path) -> Result<Self, String> {
        let calls = Calls::of(library).map_err(|error| error.to_string())?;
        let version = text(|bytes, len| {
            // SAFETY: `text` brings the room that the standard asks for. This call is allowed before `MPI_Init`.
            unsafe { (calls.library_version)(bytes, len) }
        });
        // Its first line up to the details, with one space between two words.
        let version = version.lines().next().unwrap_or_default();
        let words = version.split(',').next().unwrap_or_default();
        let version = words.split_whitespace().collect::<Vec<_>>().join(" ");
        let names = Names::of(library, path, &version)
            .ok_or_else(|| format!("it calls itself \"{version}\", which is not known"))?;
        let version = format!("{} ({version})", path.display());
        Ok(Self {
            calls,
            names,
            version,
        })
    }

    /// The library's file, and what it calls itself.
    pub(crate) fn version(&self) -> &str {
        &self.version
    }

    /// Joins the other ranks. Once in the life of a process.
    pub(crate) fn init(&self) -> Result<(), String> {
        let (asked, mut level) = (self.names.serialized, -1);
        // SAFETY: null stands for the arguments of the program, and the level is written to a number that lives.
        let code = unsafe {
            (self.calls.init_thread)(ptr::null_mut(), ptr::null_mut(), asked, &raw mut level)
        };
        self.require(code)?;
        if level < asked {
            return Err(
                "it does not let a thread of its own talk (MPI_THREAD_SERIALIZED)".to_owned(),
            );
        }
        // SAFETY: both handles are those of this library.
        let code =
            unsafe { (self.calls.comm_set_errhandler)(self.names.world, self.names.errors_return) };
        self.require(code)
    }

    pub(crate) fn rank(&self) -> Result<usize, String> {
        // SAFETY: `number` brings the room.
        self.number(|found| unsafe { (self.calls.comm_rank)(self.names.world, found) })
    }

    pub(crate) fn world(&self) -> Result<usize, String> {
        // SAFETY: `number` brings the room.
        self.number(|found| unsafe { (self.calls.comm_size)(self.names.world, found) })
    }

    fn number(&self, call: impl FnOnce(*mut c_int) -> c_int) -> Result<usize, String> {
        let mut found: c_int = -1;
        self.require(call(&raw mut found))?;
        usize::try_from(found).map_err(|_| format!("MPI counts {found} ranks"))
    }

    /// Begins to send each rank its part of `sent`, all of the same length, and to receive as many from each.
    pub(crate) fn all_to_all(&self, memory: Done, world: usize) -> Result<Pending, String> {
        let mut pending = Pending::new(memory);
        let part = count(pending.sent.len() / world)?;
        pending.received.resize(pending.sent.len(), 0);
        let Names { byte, world, .. } = self.names;
        let (from, to) = (pending.sent.as_ptr(), pending.received.as_mut_ptr());
        let request = &raw mut pending.request;
        // SAFETY: both have a part of that many bytes for each rank, and stay where they are until the call is done.
        let code =
            unsafe { (self.calls.all_to_all)(from, part, byte, to, part, byte, world, request) };
        self.begun(code, pending)
    }

    /// Begins to send `sent` to every rank, and to receive as many bytes from each.
    pub(crate) fn all_gather(&self, memory: Done, world: usize) -> Result<Pending, String> {
        let mut pending = Pending::new(memory);
        let part = count(pending.sent.len())?;
        pending.received.resize(pending.sent.len() * world, 0);
        let Names { byte, world, .. } = self.names;
        let (from, to) = (pending.sent.as_ptr(), pending.received.as_mut_ptr());
        let request = &raw mut pending.request;
        // SAFETY: one has a part of that many bytes, the other one for each rank; both stay until the call is done.
        let code =
            unsafe { (self.calls.all_gather)(from, part, byte, to, part, byte, world, request) };
        self.begun(code, pending)
    }

    /// As [`Mpi::all_gather`], with `n_received` parts: as many as there are ranks on rank 0, none elsewhere.
    pub(crate) fn gather(&self, memory: Done, n_received: usize) -> Result<Pending, String> {
        let mut pending = Pending::new(memory);
        let part = count(pending.sent.len())?;
        pending.received.resize(pending.sent.len() * n_received, 0);
        let Names { byte, world, .. } = self.names;
        let (from, to) = (pending.sent.as_ptr(), pending.received.as_mut_ptr());
        let request = &raw mut pending.request;
        // SAFETY: as above; where nothing is received, the place for it is not looked at.
        let code =
            unsafe { (self.calls.gather)(from, part, byte, to, part, byte, 0, world, request) };
        self.begun(code, pending)
    }

    /// Begins to put the bytes of rank 0 into `sent`, which is as long on every rank.
    pub(crate) fn broadcast(&self, memory: Done) -> Result<Pending, String> {
        let mut pending = Pending::new(memory);
        let len = count(pending.sent.len())?;
        let (bytes, request) = (pending.sent.as_mut_ptr(), &raw mut pending.request);
        let Names { byte, world, .. } = self.names;
        // SAFETY: there are that many bytes, which stay where they are until the call is done.
        let code = unsafe { (self.calls.broadcast)(bytes, len, byte, 0, world, request) };
        self.begun(code, pending)
    }

    /// Begins to wait for all ranks.
    pub(crate) fn barrier(&self) -> Result<Pending, String> {
        let mut pending = Pending::new(Done::default());
        // SAFETY: no memory is handed over but the place of the request.
        let code = unsafe { (self.calls.barrier)(self.names.world, &raw mut pending.request) };
        self.begun(code, pending)
    }

    fn begun(&self, code: c_int, pending: Pending) -> Result<Pending, String> {
        self.require(code)?;
        Ok(pending)
    }

    /// Whether a call is done; moves its data on.
    pub(crate) fn is_done(&self, pending: &mut Pending) -> Result<bool, String> {
        if pending.is_done {
            return Ok(true);
        }
        let (mut flag, mut status): (c_int, Status) = (0, Status::default());
        // SAFETY: the request is that of a call under way, and there is more room than any status takes.
        let code =
            unsafe { (self.calls.test)(&raw mut pending.request, &raw mut flag, &raw mut status) };
        self.require(code)?;
        pending.is_done = flag != 0;
        Ok(pending.is_done)
    }

    /// Leaves the other ranks, which leave as well.
    pub(crate) fn finalize(&self) -> Result<(), String> {
        // SAFETY: nothing is handed over; the caller sees to it that no call is under way.
        let code = unsafe { (self.calls.finalize)() };
        self.require(code)
    }

    /// Ends all ranks. May take its time, or not come back.
    pub(crate) fn abort(&self, code: c_int) {
        // SAFETY: nothing is handed over.
        unsafe { (self.calls.abort)(self.names.world, code) };
    }

    fn require(&self, code: c_int) -> Result<(), String> {
        if code == 0 {
            return Ok(());
        }
        // SAFETY: `text` brings more room than the standard asks for.
        let words = text(|bytes, len| unsafe { (self.calls.error_string)(code, bytes, len) });
        Err(format!("MPI reports error {code}: {words}"))
    }
}

/// Ends this process at once: no library is asked, as one may wait for ranks that are gone.
pub(crate) fn end_process(code: c_int) -> ! {
    // SAFETY: nothing of this process is used afterwards.
    unsafe { libc::_exit(code) }
}

/// A number of bytes, as MPI counts.
fn count(n_bytes: usize) -> Result<c_int, String> {
    c_int::try_from(n_bytes).map_err(|_| format!("{n_bytes} bytes are more than MPI counts"))
}

/// What MPI writes as text.
fn text(write: impl FnOnce(*mut c_char, *mut c_int) -> c_int) -> String {
    let mut bytes = vec![0_u8; TEXT_BYTES];
    let mut len: c_int = 0;
    write(bytes.as_mut_ptr().cast(), &raw mut len);
    let len = usize::try_from(len).unwrap_or_default();
    String::from_utf8_lossy(&bytes[..len.min(TEXT_BYTES)])
        .trim_matches(['\0', ' ', '\n'])
        .to_owned()
}
