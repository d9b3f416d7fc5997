//! An open device: a stream of work and one of uploads, and kernels by their names.

use crate::error::{Asked, Error};
use crate::event::Event;
use crate::found::{Found, attribute, describe, device_of};
use crate::machine_code;
use crate::nccl::{Communicator, Summed};
use cudarc::driver::{result, sys};
use simmim_device::{Element, Seat};
use std::collections::HashMap;
use std::ffi::{CString, c_void};
use std::fmt::{self, Debug};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// What a block may have of shared memory without being asked for.
const PLAIN_SHARED: usize = 48 << 10;

/// How a kernel is cut into blocks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Grid {
    pub(crate) blocks: usize,
    pub(crate) blocks_y: usize,
    pub(crate) threads: usize,
    /// Bytes of dynamic shared memory of a block.
    pub(crate) shared: usize,
}

/// `THREADS` of the kernels.
pub(crate) const THREADS: usize = 256;
/// Rows of a block where a warp takes a row.
const ROWS: usize = THREADS / 32;
/// Blocks that share the quads of an array: enough for the largest chip, and each then has several quads a thread.
const MOST_BLOCKS: usize = 4096;

impl Grid {
    /// So many blocks of the usual size.
    pub(crate) fn blocks(blocks: usize) -> Self {
        Self {
            blocks,
            blocks_y: 1,
            threads: THREADS,
            shared: 0,
        }
    }

    /// A thread a value.
    pub(crate) fn values(n: usize) -> Self {
        Self::blocks(n.div_ceil(THREADS))
    }

    /// A thread for every few quads of values.
    pub(crate) fn quads(n: usize) -> Self {
        Self::blocks(n.div_ceil(4 * THREADS).min(MOST_BLOCKS))
    }

    /// A warp a row.
    pub(crate) fn rows(n: usize) -> Self {
        Self::blocks(n.div_ceil(ROWS))
    }
}

/// An open device. All work goes to one stream, in the order in which it was asked for, and uploads to another.
pub(crate) struct Driver {
    pub(crate) found: Found,
    /// Bytes of shared memory that a block can have.
    pub(crate) most_shared: usize,
    device: sys::CUdevice,
    context: sys::CUcontext,
    pub(crate) stream: sys::CUstream,
    pub(crate) uploads: sys::CUstream,
    module: sys::CUmodule,
    functions: Mutex<HashMap<String, Function>>,
    group: OnceLock<Group>,
}

/// The pause between two looks at an event that other processes have a part in.
const PAUSE: Duration = Duration::from_micros(50);

/// The GPUs of several processes.
struct Group {
    communicator: Communicator,
    /// Of sums alone, which run beside the work.
    stream: sys::CUstream,
    /// How long nothing may come.
    patience: Duration,
}

/// A kernel, and the dynamic shared memory that it has been granted.
#[derive(Clone, Copy)]
struct Function {
    handle: sys::CUfunction,
    granted: usize,
}

// SAFETY: the handles are names that the driver takes from any thread; what belongs to a thread, the current context, is set
// before each call.
unsafe impl Send for Driver {}
// SAFETY: as above, and the table of functions has a lock.
unsafe impl Sync for Driver {}

impl Debug for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.found.fmt(f)
    }
}

impl Driver {
    pub(crate) fn open(number: usize) -> Result<Self, Error> {
        use sys::CUdevice_attribute as A;
        let device = device_of(number)?;
        let found = describe(device)?;
        let shared = attribute(
            device,
            A::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN,
        )?;
        let code = machine_code::of(&found)?;
        // SAFETY: the driver gave this device; the context is given back when this is dropped.
        let context = unsafe { result::primary_ctx::retain(device) }.asked("a context")?;
        let mut driver = Self {
            found,
            most_shared: usize::try_from(shared).unwrap_or(PLAIN_SHARED),
            device,
            context,
            stream: std::ptr::null_mut(),
            uploads: std::ptr::null_mut(),
            module: std::ptr::null_mut(),
            functions: Mutex::default(),
            group: OnceLock::new(),
        };
        driver.bind()?;
        for stream in [&mut driver.stream, &mut driver.uploads] {
            *stream = result::stream::create(result::stream::StreamKind::NonBlocking)
                .asked("a stream")?;
        }
        // SAFETY: the bytes are an image of machine code, whole as its checksum says.
        driver.module = unsafe { result::module::load_data(code.as_ptr().cast()) }
            .asked("to load the kernels")?;
        Ok(driver)
    }

    /// Makes the device the one that calls of this thread are for.
    pub(crate) fn bind(&self) -> Result<(), Error> {
        // SAFETY: the context is retained as long as this lives.
        unsafe { result::ctx::set_current(self.context) }.asked("a context")
    }

    /// Waits until all work is done, uploads too: each of them is waited for by the stream of work.
    pub(crate) fn wait(&self) -> Result<(), Error> {
        self.bind()?;
        if self.group.get().is_some() {
            let all = Event::new()?;
            all.record(self.stream)?;
            return self.wait_for(&all);
        }
        // SAFETY: the stream is live.
        unsafe { result::stream::synchronize(self.stream) }.asked("to finish its work")
    }

    /// Waits until the place of an event is passed: where other processes have a part in it, no longer than they may be silent.
    pub(crate) fn wait_for(&self, event: &Event) -> Result<(), Error> {
        let Some(group) = self.group.get() else {
            return event.wait();
        };
        let begun = Instant::now();
        while !event.is_done() {
            let mut seen = group.communicator.look();
            if begun.elapsed() > group.patience {
                let secs = group.patience.as_secs();
                seen = seen.and(Err(Error::Silent { secs }));
            }
            if seen.is_err() {
                // Ends what waits for the others on this device, which nobody could take down otherwise.
                group.communicator.give_up();
                return seen;
            }
            thread::sleep(PAUSE);
        }
        Ok(())
    }

    /// Joins the GPUs of other processes, which are waited for no longer than they may be silent.
    pub(crate) fn join(self: &Arc<Self>, seat: Seat<'_>) -> Result<(), Error> {
        self.bind()?;
        let communicator = self.communicator(seat)?;
        let stream =
            result::stream::create(result::stream::StreamKind::NonBlocking).asked("a stream")?;
        let group = Group {
            communicator,
            stream,
            patience: seat.patience,
        };
        self.group.set(group).map_err(|_| Error::Peers {
            what: "to join",
            reason: "this GPU has joined already".to_owned(),
        })
    }

    /// Waits for the others on a thread of its own, which is left behind where one of them does not come: NCCL's call has no end then.
    fn communicator(self: &Arc<Self>, seat: Seat<'_>) -> Result<Communicator, Error> {
        let (driver, meeting) = (Arc::clone(self), seat.meeting.to_vec());
        let Seat {
            rank,
            world,
            patience,
            ..
        } = seat;
        let (sender, receiver) = mpsc::channel();
        let failed = |reason: String| Error::Peers {
            what: "to join the GPUs of the other processes",
            reason,
        };
        let join = move || {
            let bound = driver.bind();
            let joined = bound.and_then(|()| Communicator::join(rank, world, &meeting));
            // Nobody listens any more where it has taken too long.
            let _ = sender.send(joined);
        };
        let named = thread::Builder::new().name("nccl-join".to_owned());
        named
            .spawn(join)
            .map_err(|error| failed(error.to_string()))?;
        receiver.recv_timeout(patience).unwrap_or_else(|why| {
            Err(match why {
                RecvTimeoutError::Timeout => Error::Silent {
                    secs: patience.as_secs(),
                },
                RecvTimeoutError::Disconnected => failed("its thread has ended".to_owned()),
            })
        })
    }

    /// Asks for sums over the GPUs of all processes, of what is there after all work before; the event says when they are there.
    pub(crate) fn sum(&self, all: &[Summed], element: Element) -> Result<Event, Error> {
        self.bind()?;
        let group = self.group.get().ok_or(Error::Peers {
            what: "a sum",
            reason: "this GPU has not joined".to_owned(),
        })?;
        let (given, there) = (Event::new()?, Event::new()?);
        given.record(self.stream)?;
        given.hold(group.stream)?;
        // SAFETY: whoever asks holds the addresses until the event has passed.
        unsafe { group.communicator.sum(all, element, group.stream) }?;
        there.record(group.stream)?;
        Ok(there)
    }

    /// Bytes that are free, and all of the device.
    pub(crate) fn memory(&self) -> Result<(usize, usize), Error> {
        self.bind()?;
        result::mem_get_info().asked("how much memory is free")
    }

    fn function(&self, name: &str, shared: usize) -> Result<Function, Error> {
        let mut functions = self
            .functions
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let known = functions.get(name).copied();
        if let Some(function) = known.filter(|function| function.granted >= shared) {
            return Ok(function);
        }
        let handle = if let Some(function) = known {
            function.handle
        } else {
            let name = CString::new(name).expect("a kernel's name holds no zero");
            // SAFETY: the module is live.
            unsafe { result::module::get_function(self.module, name) }.asked("a kernel")?
        };
        if shared > PLAIN_SHARED {
            let which = sys::CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
            // SAFETY: the function is of a live module.
            unsafe { result::function::set_function_attribute(handle, which, shared as i32) }
                .asked("shared memory for a kernel")?;
        }
        let granted = shared.max(PLAIN_SHARED);
        let function = Function { handle, granted };
        functions.insert(name.to_owned(), function);
        Ok(function)
    }

    /// Asks for a kernel. Each argument is in the low bytes of a word; nothing is done where there is no block.
    ///
    /// The kernel must have as many parameters, of these sizes and kinds, and its arrays must be as long as it expects: whoever calls this
    /// has held the lengths of the buffers against each other.
    pub(crate) fn launch(&self, name: &str, grid: Grid, arguments: &[u64]) -> Result<(), Error> {
        if grid.blocks == 0 || grid.blocks_y == 0 {
            return Ok(());
        }
        self.bind()?;
        let function = self.function(name, grid.shared)?;
        let blocks = u32::try_from(grid.blocks).expect("fewer blocks than 2³²");
        let mut places: Vec<*mut c_void> = arguments
            .iter()
            .map(|argument| std::ptr::from_ref(argument).cast_mut().cast())
            .collect();
        // SAFETY: the function is of a live module. The driver copies the arguments before it returns, and reads of each as many bytes
        // as its parameter has, 8 at the most; the memory that they name is released to this stream alone.
        unsafe {
            result::launch_kernel(
                function.handle,
                (blocks, grid.blocks_y as u32, 1),
                (grid.threads as u32, 1, 1),
                grid.shared as u32,
                self.stream,
                &mut places,
            )
        }
        .asked("to run a kernel")
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        // Nothing can be done about what fails here: the process may be ending, and the driver with it.
        let _ = self.wait();
        if let Some(group) = self.group.take() {
            // SAFETY: nothing is asked of it any more.
            let _ = unsafe { result::stream::destroy(group.stream) };
        }
        // SAFETY: each was made by this driver and nothing uses it any more: all work is done, and memory was given back before.
        unsafe {
            if !self.module.is_null() {
                let _ = result::module::unload(self.module);
            }
            for stream in [self.stream, self.uploads] {
                if !stream.is_null() {
                    let _ = result::stream::destroy(stream);
                }
            }
            let _ = result::primary_ctx::release(self.device);
        }
    }
}
