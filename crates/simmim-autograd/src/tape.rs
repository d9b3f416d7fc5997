//! The tape: forward code runs as written, and each operation notes how to go back.

use crate::drop_path::DropPath;
use crate::parameters::{Gradients, ParameterId, Parameters};
use crate::seen_attention::SeenAttention;
use crate::tensor::Tensor;
use simmim_device::Device;
use std::cell::RefCell;
use std::fmt::{self, Debug};
use std::rc::Rc;
use std::sync::Arc;

/// A value of the forward pass: a tensor, and its place on the tape if gradients flow through it.
#[derive(Debug, Clone)]
pub struct Var {
    tensor: Tensor,
    node: Option<usize>,
}

impl Var {
    /// The value.
    pub fn tensor(&self) -> &Tensor {
        &self.tensor
    }

    /// Length of each axis.
    pub fn shape(&self) -> &[usize] {
        self.tensor.shape()
    }

    /// The same values under another shape; nothing moves, and gradients pass.
    ///
    /// # Panics
    /// When the number of values differs.
    #[must_use]
    pub fn reshape(&self, shape: &[usize]) -> Self {
        Self {
            // Both shapes have one node. A gradient may come in either: sums go by the number of values.
            tensor: self.tensor.reshape(shape),
            node: self.node,
        }
    }

    pub(crate) fn node(&self) -> Option<usize> {
        self.node
    }
}

// Runs once and takes its gradient by value: what an operation has kept can go as soon as it has gone back.
type Backward<'a> = Box<dyn FnOnce(Tensor, &mut Sink<'_>) + 'a>;

enum Node<'a> {
    /// Its gradient is a result.
    Parameter(ParameterId),
    /// Its gradient goes to whoever runs the tape: an input of a checkpointed part.
    Input,
    /// Passes its gradient on to its inputs.
    Operation(Backward<'a>),
}

/// Where backward code puts the gradients of an operation's inputs.
pub(crate) struct Sink<'g> {
    nodes: Vec<Option<Tensor>>,
    parameters: &'g mut Receive<'g>,
}

/// Takes what one use of a parameter adds to its gradient.
type Receive<'g> = dyn FnMut(ParameterId, Tensor) + 'g;

impl Sink<'_> {
    /// Adds `gradient` to what has come together for an input; one without a node takes none.
    pub(crate) fn add(&mut self, input: Option<usize>, gradient: Tensor) {
        let Some(node) = input else { return };
        match &mut self.nodes[node] {
            Some(sum) => sum.add_assign(&gradient),
            empty => *empty = Some(gradient),
        }
    }
}

/// Whether attentions are kept to be looked at.
enum Watch {
    /// They are not.
    Off,
    /// The last one is.
    Last(Option<SeenAttention>),
}

/// Runs forward code and, when recording, remembers how to compute gradients.
///
/// `'a` is the life of the parameters and of the model whose code runs.
pub struct Tape<'a> {
    parameters: &'a Parameters,
    nodes: Vec<Node<'a>>,
    records: bool,
    checkpoints: bool,
    drop_path: Option<DropPath>,
    watch: Watch,
    /// How often each parameter was used, checkpointed parts included: its gradient is complete after as many additions.
    uses: Rc<RefCell<Vec<u32>>>,
}

impl Debug for Tape<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tape({} nodes)", self.nodes.len())
    }
}

impl<'a> Tape<'a> {
    /// A tape for a forward pass that a backward pass will follow.
    pub fn recording(parameters: &'a Parameters) -> Self {
        Self {
            parameters,
            nodes: Vec::new(),
            records: true,
            checkpoints: false,
            drop_path: None,
            watch: Watch::Off,
            uses: Rc::new(RefCell::new(vec![0; parameters.iter().len()])),
        }
    }

    /// A tape for a forward pass alone: nothing is kept.
    pub fn inference(parameters: &'a Parameters) -> Self {
        Self {
            records: false,
            ..Self::recording(parameters)
        }
    }

    /// Residual branches are dropped as `drop_path` decides; without this, never.
    #[must_use]
    pub fn with_drop_path(mut self, drop_path: DropPath) -> Self {
        self.drop_path = Some(drop_path);
        self
    }

    /// Parts run by [`Tape::checkpoint`] keep only their inputs and run again in the backward pass.
    #[must_use]
    pub fn with_checkpointing(mut self, checkpoints: bool) -> Self {
        self.checkpoints = checkpoints;
        self
    }

    /// Each attention is kept until the next one, for [`Tape::take_attention`].
    #[must_use]
    pub fn watching_attention(mut self) -> Self {
        self.watch = Watch::Last(None);
        self
    }

    /// The last attention that was run; none on a tape that does not watch.
    pub fn take_attention(&mut self) -> Option<SeenAttention> {
        match &mut self.watch {
            Watch::Off => None,
            Watch::Last(seen) => seen.take(),
        }
    }

    pub(crate) fn see_attention(&mut self, seen: impl FnOnce() -> SeenAttention) {
        if let Watch::Last(last) = &mut self.watch {
            *last = Some(seen());
        }
    }

    /// The device of the parameters.
    pub fn device(&self) -> &'a Arc<dyn Device> {
        self.parameters.device()
    }

    /// A value that no gradient flows to.
    pub fn constant(&self, tensor: Tensor) -> Var {
        Var { tensor, node: None }
    }

    /// A parameter of the model.
    pub fn parameter(&mut self, id: ParameterId) -> Var {
        let tensor = self.parameters.get(id).clone();
        self.uses.borrow_mut()[id.idx()] += 1;
        Var {
            tensor,
            node: self.push(Node::Parameter(id)),
        }
    }

    /// Runs `part` on `inputs`. With checkpointing on, nothing that it computes is kept but its result,
    /// and the backward pass runs it again. Values and gradients are the same to the bit either way.
    pub fn checkpoint(
        &mut self,
        inputs: &[&Var],
        part: impl Fn(&mut Self, &[Var]) -> Var + 'a,
    ) -> Var {
        let inputs: Vec<Var> = inputs.iter().map(|&input| input.clone()).collect();
        // Inference keeps nothing as it is.
        if !self.checkpoints || !self.records {
            return part(self, &inputs);
        }
        let (parameters, drop_path) = (self.parameters, self.drop_path.clone());
        // Without checkpoints of its own: a part that runs again is kept in full until it has gone back.
        let fresh = move || Tape {
            drop_path: drop_path.clone(),
            ..Tape::recording(parameters)
        };
        let values: Vec<Tensor> = inputs.iter().map(|input| input.tensor.clone()).collect();
        // Without their nodes, which are places on this tape and mean nothing on another.
        let constants: Vec<Var> = values
            .iter()
            .map(|value| self.constant(value.clone()))
            .collect();
        let result = part(
            &mut Tape {
                records: false,
                // The uses count once: here, as nothing is known yet of the tape of the backward pass.
                uses: Rc::clone(&self.uses),
                ..fresh()
            },
            &constants,
        )
        .tensor;
        // Even where no input has a node: the parameters within have gradients all the same.
        self.record(result, move |dy, sink| {
            let mut tape = fresh();
            let again: Vec<Var> = values
                .into_iter()
                .map(|tensor| Var {
                    tensor,
                    node: tape.push(Node::Input),
                })
                .collect();
            let result = part(&mut tape, &again);
            let mut grads = tape.run_back(result, dy, &mut *sink.parameters);
            for (input, again) in inputs.iter().zip(&again) {
                if let Some(gradient) = again.node.and_then(|node| grads[node].take()) {
                    sink.add(input.node, gradient);
                }
            }
        })
    }

    /// The gradient of `loss` with respect to every parameter, added to `gradients`.
    ///
    /// # Panics
    /// When `loss` is not a single value.
    pub fn backward(self, loss: Var, gradients: &mut Gradients) {
        let one = self.one(&loss);
        self.backward_from(loss, one, gradients);
    }

    /// As [`Tape::backward`]; `ready` is told of each parameter as soon as its gradient is complete, in an order that
    /// depends on the forward code alone. What nothing of the loss depends on is never ready.
    ///
    /// # Panics
    /// When `loss` is not a single value.
    pub fn backward_with(
        self,
        loss: Var,
        gradients: &mut Gradients,
        ready: &mut dyn FnMut(ParameterId, &Tensor),
    ) {
        let one = self.one(&loss);
        let mut uses_left = self.uses.take();
        self.run_back(loss, one, &mut |id, gradient| {
            gradients.add(id, gradient);
            // A use that the loss does not depend on is never counted down: such a parameter may have a gradient and is
            // still not told of.
            let left = &mut uses_left[id.idx()];
            *left -= 1;
            if *left == 0 {
                ready(id, gradients.get(id).expect("just added"));
            }
        });
    }

    /// The gradient of a loss with respect to itself.
    fn one(&self, loss: &Var) -> Tensor {
        let shape = loss.shape();
        assert_eq!(loss.tensor.len(), 1, "a loss is one value, not {shape:?}");
        Tensor::from_slice(self.device(), shape, &[1.0])
    }

    /// As [`Tape::backward`], from a given gradient of `result`.
    ///
    /// # Panics
    /// When `gradient` is not of the shape of `result`.
    pub fn backward_from(self, result: Var, gradient: Tensor, gradients: &mut Gradients) {
        assert_eq!(
            result.shape(),
            gradient.shape(),
            "a gradient of another shape"
        );
        self.run_back(result, gradient, &mut |id, gradient| {
            gradients.add(id, gradient);
        });
    }

    /// Goes back over the nodes; what is left over are the gradients of the [`Node::Input`]s.
    fn run_back(
        self,
        result: Var,
        gradient: Tensor,
        parameters: &mut Receive<'_>,
    ) -> Vec<Option<Tensor>> {
        let mut sink = Sink {
            nodes: vec![None; self.nodes.len()],
            parameters,
        };
        sink.add(result.node, gradient);
        // Its buffer goes back to the device now, not when all gradients are there.
        drop(result);
        // Whatever uses a value comes after it, so its gradient is whole when its turn comes. The order is that of the
        // forward code alone, and with it the order of all sums.
        for (idx, node) in self.nodes.into_iter().enumerate().rev() {
            if matches!(node, Node::Input) {
                // Left in its place for the caller.
                continue;
            }
            let Some(gradient) = sink.nodes[idx].take() else {
                // The loss does not depend on it, and what it has kept goes now.
                continue;
            };
            match node {
                Node::Parameter(id) => (sink.parameters)(id, gradient),
                Node::Operation(backward) => backward(gradient, &mut sink),
                Node::Input => {}
            }
        }
        sink.nodes
    }

    /// The result of an operation, and how its gradient reaches its inputs.
    pub(crate) fn record(
        &mut self,
        tensor: Tensor,
        backward: impl FnOnce(Tensor, &mut Sink<'_>) + 'a,
    ) -> Var {
        let node = if self.records {
            self.push(Node::Operation(Box::new(backward)))
        } else {
            // Dropped with all that it holds: inference keeps no activation.
            None
        };
        Var { tensor, node }
    }

    fn push(&mut self, node: Node<'a>) -> Option<usize> {
        if !self.records {
            return None;
        }
        self.nodes.push(node);
        Some(self.nodes.len() - 1)
    }

    /// What a residual branch is multiplied by for each sample, `[B]`; `None` when nothing is dropped.
    pub(crate) fn keep(&self, rate: f32, branch_idx: u64, batch: usize) -> Option<Tensor> {
        // A rate of 0, which first blocks have, draws nothing and puts nothing on the device.
        let drop_path = self.drop_path.as_ref().filter(|_| rate > 0.0)?;
        Some(drop_path.keep(rate, branch_idx, batch, self.device()))
    }
}
