//! Images to batches for simmim: sources, decode, crop, mask, loader.
