//! Arithmetic kernels of simmim: slices in, slices out.
