//! Pre-train vision transformers on your own images by masked image modelling (SimMIM). One binary, no Python.
