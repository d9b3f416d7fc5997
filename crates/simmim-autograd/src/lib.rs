//! Tensors, tape and fused differentiable operations of simmim.
