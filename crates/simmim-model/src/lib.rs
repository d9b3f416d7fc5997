//! Vision transformers, heads and objectives of simmim.
