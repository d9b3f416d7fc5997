//! A graph as it grows: operations in the order in which they run, and the arrays that they need.

use std::collections::BTreeMap;

use simmim_checkpoint::Array;

use crate::format::{
    Attribute, DataType, Dimension, Node, Shape, Size, Tensor, TensorType, Type, ValueInfo,
};

/// What an operation gives, by its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Value(String);

/// Why a graph cannot be made of a model; the file is named further up.
#[derive(Debug)]
pub(crate) enum Fault {
    Missing(String),
    Shape {
        array: String,
        expected: Vec<usize>,
        found: Vec<usize>,
    },
    Unsupported(&'static str),
}

/// A graph as it grows.
pub(crate) struct Builder {
    pub(crate) nodes: Vec<Node>,
    pub(crate) initializers: Vec<Tensor>,
    /// Those of the model that no operation has asked for yet.
    arrays: BTreeMap<String, Array>,
    /// Those that were asked for, by what was made of them.
    used: BTreeMap<String, Value>,
    n_names: usize,
}

impl Builder {
    pub(crate) fn new(arrays: BTreeMap<String, Array>) -> Self {
        Self {
            nodes: Vec::new(),
            initializers: Vec::new(),
            arrays,
            used: BTreeMap::new(),
            n_names: 0,
        }
    }

    /// The arrays that no operation has asked for.
    pub(crate) fn unused(&self) -> impl Iterator<Item = &str> {
        self.arrays.keys().map(String::as_str)
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.arrays.contains_key(name)
    }

    /// The first size of an array that is still there.
    pub(crate) fn first_size(&self, name: &str) -> Result<usize, Fault> {
        let array = self.arrays.get(name);
        let size = array.and_then(|array| array.shape.first().copied());
        size.ok_or_else(|| Fault::Missing(name.to_owned()))
    }

    /// An operation with one result.
    pub(crate) fn op(&mut self, operation: &str, inputs: &[&Value]) -> Value {
        self.op_with(operation, inputs, Vec::new())
    }

    pub(crate) fn op_with(
        &mut self,
        operation: &str,
        inputs: &[&Value],
        attributes: Vec<Attribute>,
    ) -> Value {
        let result = self.fresh(operation);
        self.push(operation, inputs, attributes, vec![result.0.clone()]);
        result
    }

    /// An operation with so many results.
    pub(crate) fn split(&mut self, x: &Value, n: usize) -> Vec<Value> {
        let parts: Vec<Value> = (0..n).map(|_| self.fresh("Split")).collect();
        let names = parts.iter().map(|part| part.0.clone()).collect();
        self.push("Split", &[x], vec![int("axis", 0)], names);
        parts
    }

    fn push(
        &mut self,
        operation: &str,
        inputs: &[&Value],
        attributes: Vec<Attribute>,
        outputs: Vec<String>,
    ) {
        self.nodes.push(Node {
            inputs: inputs.iter().map(|input| input.0.clone()).collect(),
            name: outputs[0].clone(),
            outputs,
            operation: operation.to_owned(),
            attributes,
        });
    }

    /// A value that comes from outside.
    pub(crate) fn input(name: &str) -> Value {
        Value(name.to_owned())
    }

    /// Gives a value the name under which the graph hands it over.
    pub(crate) fn output(&mut self, x: &Value, name: &str) {
        self.push("Identity", &[x], Vec::new(), vec![name.to_owned()]);
    }

    fn fresh(&mut self, operation: &str) -> Value {
        self.n_names += 1;
        Value(format!("{operation}_{}", self.n_names))
    }

    /// An array of the model.
    pub(crate) fn parameter(&mut self, name: &str, shape: &[usize]) -> Result<Value, Fault> {
        if let Some(value) = self.used.get(name) {
            return Ok(value.clone());
        }
        let array = self.take(name, shape)?;
        let value = self.floats(name, shape, &array.values);
        self.used.insert(name.to_owned(), value.clone());
        Ok(value)
    }

    /// A matrix of the model, turned: a layer's weights are `[out, in]`, a product wants them the other way.
    pub(crate) fn turned(
        &mut self,
        name: &str,
        [rows, columns]: [usize; 2],
    ) -> Result<Value, Fault> {
        let array = self.take(name, &[rows, columns])?;
        let turned: Vec<f32> = (0..columns)
            .flat_map(|column| (0..rows).map(move |row| (row, column)))
            .map(|(row, column)| array.values[row * columns + column])
            .collect();
        Ok(self.floats(name, &[columns, rows], &turned))
    }

    /// An array of the model, taken out of those that are left. Axes of length 1 may be written in any way.
    pub(crate) fn take(&mut self, name: &str, shape: &[usize]) -> Result<Array, Fault> {
        let array = self
            .arrays
            .remove(name)
            .ok_or_else(|| Fault::Missing(name.to_owned()))?;
        let long = |shape: &[usize]| -> Vec<usize> {
            shape.iter().copied().filter(|&size| size != 1).collect()
        };
        if long(&array.shape) != long(shape) {
            return Err(Fault::Shape {
                array: name.to_owned(),
                expected: shape.to_vec(),
                found: array.shape,
            });
        }
        Ok(array)
    }

    /// Constant numbers.
    pub(crate) fn floats(&mut self, name: &str, shape: &[usize], values: &[f32]) -> Value {
        let bytes = values
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect();
        self.constant(name, shape, DataType::Float, bytes)
    }

    /// A constant number.
    pub(crate) fn scalar(&mut self, value: f32) -> Value {
        let name = self.fresh("value").0;
        self.floats(&name, &[], &[value])
    }

    /// Constant numbers that several operations use, by their name.
    pub(crate) fn shared_floats(&mut self, name: &str, shape: &[usize], values: &[f32]) -> Value {
        if let Some(value) = self.used.get(name) {
            return value.clone();
        }
        let value = self.floats(name, shape, values);
        self.used.insert(name.to_owned(), value.clone());
        value
    }

    /// Constant places in an axis.
    pub(crate) fn places(&mut self, name: &str, shape: &[usize], places: &[u32]) -> Value {
        if let Some(value) = self.used.get(name) {
            return value.clone();
        }
        let bytes = places
            .iter()
            .flat_map(|place| (*place as i32).to_le_bytes())
            .collect();
        let value = self.constant(name, shape, DataType::Int32, bytes);
        self.used.insert(name.to_owned(), value.clone());
        value
    }

    fn sizes(&mut self, sizes: &[i64]) -> Value {
        let name = self.fresh("shape").0;
        let bytes = sizes.iter().flat_map(|size| size.to_le_bytes()).collect();
        self.constant(&name, &[sizes.len()], DataType::Int64, bytes)
    }

    fn constant(
        &mut self,
        name: &str,
        shape: &[usize],
        data_type: DataType,
        bytes: Vec<u8>,
    ) -> Value {
        self.initializers.push(Tensor {
            dims: shape.iter().map(|&size| size as i64).collect(),
            data_type: data_type as i32,
            name: name.to_owned(),
            bytes,
        });
        Value(name.to_owned())
    }

    /// The same values in another shape; 0 is the size that the axis has, −1 what is left.
    pub(crate) fn reshape(&mut self, x: &Value, shape: &[i64]) -> Value {
        let shape = self.sizes(shape);
        self.op("Reshape", &[x, &shape])
    }

    pub(crate) fn transpose(&mut self, x: &Value, order: &[i64]) -> Value {
        self.op_with("Transpose", &[x], vec![ints("perm", order)])
    }

    pub(crate) fn gather(&mut self, x: &Value, places: &Value, axis: i64) -> Value {
        self.op_with("Gather", &[x, places], vec![int("axis", axis)])
    }

    pub(crate) fn concat(&mut self, parts: &[&Value], axis: i64) -> Value {
        self.op_with("Concat", parts, vec![int("axis", axis)])
    }

    /// The same values with an axis of length 1 at that place.
    pub(crate) fn unsqueeze(&mut self, x: &Value, axis: i64) -> Value {
        let axis = self.sizes(&[axis]);
        self.op("Unsqueeze", &[x, &axis])
    }

    /// Truth values as 0 and 1.
    pub(crate) fn cast(&mut self, x: &Value) -> Value {
        self.op_with("Cast", &[x], vec![int("to", DataType::Float as i64)])
    }

    /// Each value of an image as a square of `factor` values a side.
    pub(crate) fn resize(&mut self, x: &Value, factor: f32) -> Value {
        let name = self.fresh("factors").0;
        let factors = self.floats(&name, &[4], &[1.0, 1.0, factor, factor]);
        let attributes = vec![
            text("mode", "nearest"),
            text("coordinate_transformation_mode", "asymmetric"),
            text("nearest_mode", "floor"),
        ];
        // The second input, which is left out, is for other modes.
        let none = Value(String::new());
        self.op_with("Resize", &[x, &none, &factors], attributes)
    }

    /// Sums over all axes.
    pub(crate) fn sum(&mut self, x: &Value) -> Value {
        self.op_with("ReduceSum", &[x], vec![int("keepdims", 0)])
    }
}

pub(crate) fn int(name: &str, value: i64) -> Attribute {
    Attribute {
        name: name.to_owned(),
        int: Some(value),
        kind: 2,
        ..Attribute::default()
    }
}

pub(crate) fn float(name: &str, value: f32) -> Attribute {
    Attribute {
        name: name.to_owned(),
        float: Some(value),
        kind: 1,
        ..Attribute::default()
    }
}

fn text(name: &str, value: &str) -> Attribute {
    Attribute {
        name: name.to_owned(),
        text: Some(value.as_bytes().to_vec()),
        kind: 3,
        ..Attribute::default()
    }
}

pub(crate) fn ints(name: &str, values: &[i64]) -> Attribute {
    Attribute {
        name: name.to_owned(),
        ints: values.to_vec(),
        kind: 7,
        ..Attribute::default()
    }
}

/// The description of an input or an output; its first axis is the batch, if it has one.
pub(crate) fn described(
    name: &str,
    data_type: DataType,
    shape: &[usize],
    is_batched: bool,
) -> ValueInfo {
    let batch = is_batched.then(|| Size::Named("batch".to_owned()));
    let sizes = shape.iter().map(|&size| Size::Fixed(size as i64));
    let dims = batch
        .into_iter()
        .chain(sizes)
        .map(|size| Dimension { size: Some(size) });
    ValueInfo {
        name: name.to_owned(),
        kind: Some(Type {
            tensor: Some(TensorType {
                data_type: data_type as i32,
                shape: Some(Shape {
                    dims: dims.collect(),
                }),
            }),
        }),
        doc: String::new(),
    }
}
