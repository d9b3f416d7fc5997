//! The naming of parameters as a model is built.

use simmim_autograd::{Init, Layer, ParameterId, ParameterKind, ParameterSpec, ParameterSpecs};

/// A place in a model at which parameters are named: what stands before their names, and what they have in common.
///
/// Parameters get their first values by their place in the order in which they are named, so that order is part of
/// what a seed means.
#[derive(Debug)]
pub(crate) struct Names<'a> {
    specs: &'a mut ParameterSpecs,
    /// With the dot, where there is one.
    prefix: String,
    layer: Layer,
    kind: ParameterKind,
}

impl<'a> Names<'a> {
    /// Names that begin with `prefix`, of weights in `layer`.
    pub(crate) fn new(specs: &'a mut ParameterSpecs, prefix: &str, layer: Layer) -> Self {
        Self {
            specs,
            prefix: prefix.to_owned(),
            layer,
            kind: ParameterKind::Weight,
        }
    }

    /// The names of the part `name` of this place.
    pub(crate) fn of(&mut self, name: &str) -> Names<'_> {
        let prefix = format!("{}{name}.", self.prefix);
        Names {
            specs: self.specs,
            prefix,
            layer: self.layer,
            kind: self.kind,
        }
    }

    /// The same names, for a part that has none of its own.
    pub(crate) fn here(&mut self) -> Names<'_> {
        self.in_layer(self.layer)
    }

    /// The same names in another layer.
    pub(crate) fn in_layer(&mut self, layer: Layer) -> Names<'_> {
        let prefix = self.prefix.clone();
        Names {
            specs: self.specs,
            prefix,
            layer,
            kind: self.kind,
        }
    }

    /// The same names for another kind of parameters.
    pub(crate) fn of_kind(&mut self, kind: ParameterKind) -> Names<'_> {
        let prefix = self.prefix.clone();
        Names {
            specs: self.specs,
            prefix,
            layer: self.layer,
            kind,
        }
    }

    /// Names a parameter.
    pub(crate) fn add(&mut self, name: &str, shape: &[usize], init: Init) -> ParameterId {
        self.specs.push(ParameterSpec {
            layer: self.layer,
            kind: self.kind,
            ..ParameterSpec::new(format!("{}{name}", self.prefix), shape, init)
        })
    }
}
