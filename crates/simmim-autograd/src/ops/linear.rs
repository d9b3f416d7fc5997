//! y = x wᵀ + b.

use crate::tape::{Sink, Tape, Var};
use crate::tensor::Tensor;
use simmim_device::{Element, Linear, LinearDims, LinearGradients};
use std::sync::Arc;

/// The weight and, mostly, the bias of a layer.
#[derive(Debug, Clone)]
pub struct LayerVars {
    /// `[out, ..]` with the values of a row of x each.
    pub w: Var,
    /// `[out]`.
    pub bias: Option<Var>,
}

impl LayerVars {
    /// Sizes of the layer on so many rows.
    ///
    /// # Panics
    /// When the shapes do not fit.
    pub(super) fn dims(&self, rows: usize, inputs: usize) -> LinearDims {
        let outputs = self.w.shape()[0];
        assert_eq!(
            self.w.tensor().len(),
            inputs * outputs,
            "linear: rows of {inputs} by {:?}",
            self.w.shape()
        );
        let fits = |bias: &Var| bias.tensor().len() == outputs;
        assert!(
            self.bias.as_ref().is_none_or(fits),
            "linear: bias of another length"
        );
        LinearDims {
            rows,
            inputs,
            outputs,
        }
    }

    pub(super) fn on_device(&self, dims: LinearDims) -> Linear<'_> {
        Linear {
            w: self.w.tensor().buffer(),
            bias: self.bias.as_ref().map(|bias| bias.tensor().buffer()),
            dims,
        }
    }

    /// Sends x its gradient, from that of what the layer made of it.
    pub(super) fn add_input_gradient(
        &self,
        dims: LinearDims,
        dy: &Tensor,
        x: &Var,
        sink: &mut Sink<'_>,
    ) {
        // Images take no gradient: that of the first layer would be a product for nothing.
        if x.node().is_some() {
            let dx = x.tensor().build_like(|dx| {
                let w = self.w.tensor().buffer();
                dy.device().linear_backward_input(dy.buffer(), w, dims, dx);
            });
            sink.add(x.node(), dx);
        }
    }

    /// Sends weight and bias their gradients.
    pub(super) fn add_gradients(
        &self,
        dims: LinearDims,
        dy: &Tensor,
        x: &Tensor,
        sink: &mut Sink<'_>,
    ) {
        let device = dy.device();
        let bias = self.bias.as_ref().and_then(Var::node);
        // With the weight: a device can take both gradients from one pass over dy.
        let mut db = bias.map(|_| device.allocate(dims.outputs, Element::F32));
        let dw = Tensor::build(device, self.w.shape(), |dw| {
            let gradients = LinearGradients {
                w: dw,
                bias: db.as_mut(),
            };
            device.linear_backward_weight(dy.buffer(), x.buffer(), dims, gradients);
        });
        sink.add(self.w.node(), dw);
        if let Some(db) = db {
            sink.add(bias, Tensor::from_buffer(device, &[dims.outputs], db));
        }
    }
}

impl Tape<'_> {
    /// y = x wᵀ + bias for each row of x. A convolution's weight `[out, C, p, p]` serves as it is.
    ///
    /// # Shapes
    /// `x` `[.., in]`, `w` `[out, ..]` with `in` values a row, `bias` `[out]`; the result `[.., out]`.
    ///
    /// # Panics
    /// When the shapes do not fit.
    pub fn linear(&mut self, x: &Var, w: &Var, bias: Option<&Var>) -> Var {
        self.linear_of(Element::F32, x, w, bias)
    }

    /// As [`Tape::linear`], within a residual branch: the result is kept in what the device keeps there.
    ///
    /// # Shapes
    /// As there.
    ///
    /// # Panics
    /// As there.
    pub fn linear_in_branch(&mut self, x: &Var, w: &Var, bias: Option<&Var>) -> Var {
        let element = self.device().branch_element();
        self.linear_of(element, x, w, bias)
    }

    fn linear_of(&mut self, element: Element, x: &Var, w: &Var, bias: Option<&Var>) -> Var {
        let layer = LayerVars {
            w: w.clone(),
            bias: bias.cloned(),
        };
        let inputs = x.tensor().width();
        let dims = layer.dims(x.tensor().len() / inputs, inputs);
        let mut shape = x.shape().to_vec();
        *shape.last_mut().expect("x has rows") = dims.outputs;
        let device = Arc::clone(self.device());
        let y = Tensor::build_of(element, &device, &shape, |y| {
            device.linear(x.tensor().buffer(), layer.on_device(dims), y);
        });
        let x = x.clone();
        self.record(y, move |dy, sink| {
            layer.add_input_gradient(dims, &dy, &x, sink);
            layer.add_gradients(dims, &dy, x.tensor(), sink);
        })
    }

    /// The bias of a query-key-value projection whose keys have none: q, zeros, v.
    ///
    /// Source: microsoft/SimMIM `models/vision_transformer.py`, `Attention.forward`.
    ///
    /// # Shapes
    /// `q`, `v` `[D]`; the result `[3 D]`.
    pub fn query_value_bias(&mut self, q: &Var, v: &Var) -> Var {
        let width = q.tensor().len();
        let device = Arc::clone(self.device());
        // Keys need no bias: it would add the same to all logits of a query, and the softmax does not see that.
        let y = Tensor::build(&device, &[3 * width], |y| {
            device.query_value_bias(q.tensor().buffer(), v.tensor().buffer(), y);
        });
        let (q, v) = (q.node(), v.node());
        self.record(y, move |dy, sink| {
            let gradients = device.query_value_bias_backward(dy.buffer());
            sink.add(q, Tensor::from_buffer(&device, &[width], gradients.q));
            sink.add(v, Tensor::from_buffer(&device, &[width], gradients.v));
        })
    }
}
