//! Matrix products, by cuBLASLt.

use crate::driver::Driver;
use crate::error::{Asked, Error};
use crate::memory::{Memory, Pool};
use cudarc::cublaslt::{result, sys};
use simmim_device::Element;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ffi::c_void;
use std::fmt::{self, Debug};
use std::sync::{Arc, Mutex, PoisonError};

/// What a product may use besides: as much as NVIDIA advises for its newest chips.
const WORKSPACE_BYTES: usize = 32 << 20;

/// A factor, by columns as cuBLAS counts them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Factor {
    pub(crate) address: u64,
    pub(crate) is_transposed: bool,
}

/// d `[m, n]` = a `[m, k]` b `[k, n]` + bias, all by columns: of rows of values it is the product of the transposes, in the other
/// order.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Product {
    pub(crate) m: usize,
    pub(crate) n: usize,
    pub(crate) k: usize,
    pub(crate) a: Factor,
    pub(crate) b: Factor,
    /// Of a and b.
    pub(crate) factors: Element,
    pub(crate) d: u64,
    pub(crate) result: Element,
    /// `[m]`, of the element of the result, added to each column.
    pub(crate) bias: Option<u64>,
}

/// What products have in common that are computed alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Shape {
    m: usize,
    n: usize,
    k: usize,
    transposed: [bool; 2],
    factors: Element,
    result: Element,
    has_bias: bool,
}

/// How products of one shape are computed: chosen once.
struct Plan {
    description: sys::cublasLtMatmulDesc_t,
    a: sys::cublasLtMatrixLayout_t,
    b: sys::cublasLtMatrixLayout_t,
    d: sys::cublasLtMatrixLayout_t,
    algorithm: sys::cublasLtMatmulAlgo_t,
}

// SAFETY: a plan is memory of the library's that is reached under the lock of all plans alone.
unsafe impl Send for Plan {}

impl Drop for Plan {
    fn drop(&mut self) {
        // SAFETY: each was made by the library for this plan. What fails leaves a little memory behind.
        unsafe {
            for layout in [self.a, self.b, self.d] {
                let _ = result::destroy_matrix_layout(layout);
            }
            let _ = result::destroy_matmul_desc(self.description);
        }
    }
}

pub(crate) struct Products {
    driver: Arc<Driver>,
    handle: sys::cublasLtHandle_t,
    plans: Mutex<HashMap<Shape, Plan>>,
    /// Of factors in f32.
    compute: sys::cublasComputeType_t,
    // On one stream products follow each other, so that they can share it.
    workspace: Memory,
}

// SAFETY: the handle may be used from several threads, as the library's manual says; plans have a lock.
unsafe impl Send for Products {}
// SAFETY: as above.
unsafe impl Sync for Products {}

impl Debug for Products {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Products")
    }
}

/// Whether the library is on this machine.
pub(crate) fn is_there() -> Result<(), Error> {
    // SAFETY: it only tries to load a library by its name, which runs nothing but the library's own start.
    if unsafe { sys::is_culib_present() } {
        Ok(())
    } else {
        Err(Error::NoProducts)
    }
}

fn data_type(element: Element) -> sys::cudaDataType {
    match element {
        Element::Bf16 => sys::cudaDataType::CUDA_R_16BF,
        Element::F32 => sys::cudaDataType::CUDA_R_32F,
        Element::U32 | Element::F64 => unreachable!("products are of floats"),
    }
}

impl Products {
    /// `tf32`: factors in f32 are rounded to TF32, which tensor cores multiply.
    pub(crate) fn new(driver: &Arc<Driver>, pool: &Arc<Pool>, tf32: bool) -> Result<Self, Error> {
        use sys::cublasComputeType_t::{CUBLAS_COMPUTE_32F, CUBLAS_COMPUTE_32F_FAST_TF32};
        is_there()?;
        driver.bind()?;
        Ok(Self {
            driver: Arc::clone(driver),
            handle: result::create_handle().asked("to start")?,
            plans: Mutex::default(),
            compute: if tf32 {
                CUBLAS_COMPUTE_32F_FAST_TF32
            } else {
                CUBLAS_COMPUTE_32F
            },
            workspace: pool.take(WORKSPACE_BYTES)?,
        })
    }

    /// Asks for a product. The factors and the result must be as long as their sizes say.
    pub(crate) fn multiply(&self, product: Product) -> Result<(), Error> {
        if product.m == 0 || product.n == 0 {
            return Ok(());
        }
        self.driver.bind()?;
        let mut plans = self.plans.lock().unwrap_or_else(PoisonError::into_inner);
        let shape = Shape {
            m: product.m,
            n: product.n,
            k: product.k,
            transposed: [product.a.is_transposed, product.b.is_transposed],
            factors: product.factors,
            result: product.result,
            has_bias: product.bias.is_some(),
        };
        let plan = match plans.entry(shape) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(place) => place.insert(self.plan(shape)?),
        };
        if let Some(bias) = product.bias {
            set(
                plan.description,
                Attribute::CUBLASLT_MATMUL_DESC_BIAS_POINTER,
                &bias,
            )?;
        }
        let (alpha, beta) = (1.0_f32, 0.0_f32);
        // SAFETY: plan and handle are live; the library reads α and β before it returns; the addresses hold as many values as
        // the layouts say, and are released to this stream alone.
        unsafe {
            result::matmul(
                self.handle,
                plan.description,
                (&raw const alpha).cast(),
                (&raw const beta).cast(),
                product.a.address as *const c_void,
                plan.a,
                product.b.address as *const c_void,
                plan.b,
                product.d as *const c_void,
                plan.d,
                product.d as *mut c_void,
                plan.d,
                &raw const plan.algorithm,
                self.workspace.address as *mut c_void,
                WORKSPACE_BYTES,
                self.driver.stream.cast(),
            )
        }
        .asked("a product")
    }

    fn plan(&self, shape: Shape) -> Result<Plan, Error> {
        let compute = match shape.factors {
            Element::F32 => self.compute,
            _ => sys::cublasComputeType_t::CUBLAS_COMPUTE_32F,
        };
        let [a, b] = shape.transposed;
        let layout = |element, rows: usize, columns: usize| {
            result::create_matrix_layout(
                data_type(element),
                rows as u64,
                columns as u64,
                rows as i64,
            )
            .asked("the layout of a matrix")
        };
        let turned = |is_transposed, rows, columns| {
            let (rows, columns) = if is_transposed {
                (columns, rows)
            } else {
                (rows, columns)
            };
            layout(shape.factors, rows, columns)
        };
        let description = result::create_matmul_desc(compute, sys::cudaDataType::CUDA_R_32F)
            .asked("the description of a product")?;
        let mut plan = Plan {
            description,
            a: turned(a, shape.m, shape.k)?,
            b: turned(b, shape.k, shape.n)?,
            d: layout(shape.result, shape.m, shape.n)?,
            algorithm: sys::cublasLtMatmulAlgo_t { data: [0; 8] },
        };
        set(
            description,
            Attribute::CUBLASLT_MATMUL_DESC_TRANSA,
            &i32::from(a),
        )?;
        set(
            description,
            Attribute::CUBLASLT_MATMUL_DESC_TRANSB,
            &i32::from(b),
        )?;
        if shape.has_bias {
            let epilogue = sys::cublasLtEpilogue_t::CUBLASLT_EPILOGUE_BIAS;
            set(
                description,
                Attribute::CUBLASLT_MATMUL_DESC_EPILOGUE,
                &epilogue,
            )?;
        }
        plan.algorithm = self.choose(&plan)?;
        Ok(plan)
    }

    /// The algorithm that the library thinks fastest.
    fn choose(&self, plan: &Plan) -> Result<sys::cublasLtMatmulAlgo_t, Error> {
        let which =
            sys::cublasLtMatmulPreferenceAttributes_t::CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES;
        let preference = result::create_matmul_pref().asked("the choice of an algorithm")?;
        // SAFETY: all are live, the value is as long as is said, and the preference is not used after it is taken down.
        let chosen = unsafe {
            let bytes = WORKSPACE_BYTES;
            let at = (&raw const bytes).cast();
            result::set_matmul_pref_attribute(preference, which, at, size_of::<usize>()).and_then(
                |()| {
                    let Plan {
                        description,
                        a,
                        b,
                        d,
                        ..
                    } = *plan;
                    result::get_matmul_algo_heuristic(
                        self.handle,
                        description,
                        a,
                        b,
                        d,
                        d,
                        preference,
                    )
                },
            )
        };
        // SAFETY: it was made above.
        let _ = unsafe { result::destroy_matmul_pref(preference) };
        Ok(chosen.asked("an algorithm for a product")?.algo)
    }
}

use sys::cublasLtMatmulDescAttributes_t as Attribute;

fn set<T>(
    description: sys::cublasLtMatmulDesc_t,
    which: Attribute,
    value: &T,
) -> Result<(), Error> {
    // SAFETY: the description is live, and the value is as long as is said.
    unsafe {
        result::set_matmul_desc_attribute(
            description,
            which,
            std::ptr::from_ref(value).cast(),
            size_of::<T>(),
        )
    }
    .asked("an attribute of a product")
}

impl Drop for Products {
    fn drop(&mut self) {
        if self.driver.wait().is_ok() {
            // SAFETY: the handle was made by the library, and all work with it is done.
            let _ = unsafe { result::destroy_handle(self.handle) };
        }
    }
}
