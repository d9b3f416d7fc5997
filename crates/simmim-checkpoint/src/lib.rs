//! Bytes to named arrays and back for simmim: safetensors, written atomically.
