//! The machine that a pickle is a program of: a stack, and a memory for what is used again.

use std::collections::HashMap;
use std::io::Read;

use super::classes::runs_code;
use super::input::Input;
use crate::error::Problem;
use crate::graph::{Graph, Item, MAX_VALUES, Node};

/// Reads one pickle to its end, and not a byte further.
pub(crate) fn read<R: Read>(input: &mut Input<R>) -> Result<(Graph, Item), Problem> {
    let mut machine = Machine {
        graph: Graph::of(input.n_bytes()),
        input,
        stack: Vec::new(),
        marks: Vec::new(),
        memory: HashMap::new(),
        n_pushed: 0,
    };
    loop {
        match machine.input.byte()? {
            b'.' => break,
            operation => machine.step(operation)?,
        }
    }
    let root = machine.pop()?;
    Ok((machine.graph, root))
}

pub(super) struct Machine<'i, R> {
    input: &'i mut Input<R>,
    pub(super) graph: Graph,
    stack: Vec<Item>,
    /// Where in the stack the groups begin that are still open.
    marks: Vec<usize>,
    memory: HashMap<u32, Item>,
    n_pushed: usize,
}

impl<R: Read> Machine<'_, R> {
    /// Source: `Lib/pickle.py`, class `_Unpickler`; `Lib/pickletools.py`.
    fn step(&mut self, operation: u8) -> Result<(), Problem> {
        match operation {
            0x80 => self.protocol(),
            // The length of what follows, for those who read ahead.
            0x95 => self.input.array::<8>().map(|_| ()),
            b'N' | 0x88 | 0x89 | b'K' | b'M' | b'J' | b'G' | 0x8a | 0x8b => self.number(operation),
            b'X' | 0x8c | 0x8d | b'U' | b'T' | b'C' | b'B' | 0x8e | 0x96 => self.text(operation),
            b'(' | b'0' | b'1' | b'2' => self.stack(operation),
            b')' | 0x85 | 0x86 | 0x87 | b't' => self.tuple(operation),
            b']' | 0x8f | b'l' | 0x91 | b'}' | b'd' => self.container(operation),
            b'a' | b'e' | 0x90 | b's' | b'u' => self.fill(operation),
            b'q' | b'r' | 0x94 | b'h' | b'j' => self.memory(operation),
            b'c' | 0x93 => self.class(operation),
            b'R' | 0x81 | 0x92 | b'b' | b'Q' => self.object(operation),
            byte => Err(Problem::Operation { byte }),
        }
    }

    fn protocol(&mut self) -> Result<(), Problem> {
        match self.input.byte()? {
            2..=5 => Ok(()),
            found => Err(Problem::Protocol { found }),
        }
    }

    fn number(&mut self, operation: u8) -> Result<(), Problem> {
        let item = match operation {
            b'N' => Item::None,
            0x88 => Item::Bool(true),
            0x89 => Item::Bool(false),
            b'K' => Item::Int(self.input.byte()?.into()),
            b'M' => Item::Int(u16::from_le_bytes(self.input.array()?).into()),
            b'J' => Item::Int(i32::from_le_bytes(self.input.array()?).into()),
            b'G' => Item::Float(f64::from_be_bytes(self.input.array()?)),
            _ => return self.long(operation),
        };
        self.push(item)
    }

    /// A whole number of any length, in two's complement.
    fn long(&mut self, operation: u8) -> Result<(), Problem> {
        let length = match operation {
            0x8a => self.input.byte()?.into(),
            _ => u32::from_le_bytes(self.input.array()?),
        };
        let bytes = self.input.bytes(length.into())?;
        match int_of(&bytes) {
            Some(value) => self.push(Item::Int(value)),
            None => self.push_node(Node::Wide(bytes)),
        }
    }

    fn text(&mut self, operation: u8) -> Result<(), Problem> {
        let length = match operation {
            0x8c | b'U' | b'C' => self.input.byte()?.into(),
            b'X' | b'T' | b'B' => u32::from_le_bytes(self.input.array()?).into(),
            _ => u64::from_le_bytes(self.input.array()?),
        };
        let node = match operation {
            b'X' | 0x8c | 0x8d => Node::Text(self.input.text(length)?),
            // A text of Python 2 has no encoding. What is UTF-8 was meant as one.
            b'U' | b'T' => match String::from_utf8(self.input.bytes(length)?) {
                Ok(text) => Node::Text(text),
                Err(error) => Node::Bytes(error.into_bytes()),
            },
            _ => Node::Bytes(self.input.bytes(length)?),
        };
        self.push_node(node)
    }

    fn stack(&mut self, operation: u8) -> Result<(), Problem> {
        match operation {
            b'(' => {
                if self.marks.len() == MAX_VALUES {
                    return Err(Problem::TooMany { limit: MAX_VALUES });
                }
                self.marks.push(self.stack.len());
                Ok(())
            }
            b'0' if self.marks.last() == Some(&self.stack.len()) => {
                self.marks.pop();
                Ok(())
            }
            b'0' => self.pop().map(|_| ()),
            b'1' => self.pop_group().map(|_| ()),
            _ => {
                let top = self.top()?;
                self.push(top)
            }
        }
    }

    fn tuple(&mut self, operation: u8) -> Result<(), Problem> {
        let length = match operation {
            b')' => 0,
            0x85 => 1,
            0x86 => 2,
            0x87 => 3,
            _ => {
                let items = self.pop_group()?;
                return self.push_node(Node::Tuple(items));
            }
        };
        let begin = self.stack.len().checked_sub(length);
        let floor = self.marks.last().copied().unwrap_or_default();
        let begin = begin.filter(|&begin| begin >= floor);
        let items = self.stack.split_off(begin.ok_or(Problem::NoValue)?);
        self.push_node(Node::Tuple(items))
    }

    fn container(&mut self, operation: u8) -> Result<(), Problem> {
        let node = match operation {
            b']' | 0x8f => Node::List(Vec::new()),
            b'}' => Node::Map(Vec::new()),
            b'd' => Node::Map(even(self.pop_group()?)?),
            _ => Node::List(self.pop_group()?),
        };
        self.push_node(node)
    }

    /// Puts values into the container below them.
    fn fill(&mut self, operation: u8) -> Result<(), Problem> {
        let items = match operation {
            b'a' => vec![self.pop()?],
            b's' => {
                let value = self.pop()?;
                vec![self.pop()?, value]
            }
            b'u' => even(self.pop_group()?)?,
            _ => self.pop_group()?,
        };
        let are_pairs = matches!(operation, b's' | b'u');
        let container = self.top()?;
        let place = match container {
            Item::Node(place) => self.graph.nodes.get_mut(place),
            _ => None,
        };
        let room = match place {
            Some(Node::List(list)) if !are_pairs => list,
            Some(Node::Map(map)) if are_pairs => map,
            Some(Node::Object(object)) if are_pairs => &mut object.items,
            Some(Node::Object(object)) => &mut object.parts,
            _ => return Err(self.graph.wrong("what is filled", "a container", container)),
        };
        room.extend(items);
        Ok(())
    }

    fn memory(&mut self, operation: u8) -> Result<(), Problem> {
        let place = match operation {
            b'q' | b'h' => self.input.byte()?.into(),
            b'r' | b'j' => u32::from_le_bytes(self.input.array()?),
            _ => self.memory.len() as u32,
        };
        if matches!(operation, b'h' | b'j') {
            let item = self.memory.get(&place).copied();
            return self.push(item.ok_or(Problem::Memory { place })?);
        }
        let top = self.top()?;
        self.memory.insert(place, top);
        Ok(())
    }

    fn class(&mut self, operation: u8) -> Result<(), Problem> {
        let (module, name) = if operation == b'c' {
            (self.input.line()?, self.input.line()?)
        } else {
            let name = self.pop()?;
            let module = self.pop()?;
            let text = |item| {
                let text = self.graph.text(item).map(str::to_owned);
                text.ok_or_else(|| self.graph.wrong("the name of a class", "a text", item))
            };
            (text(module)?, text(name)?)
        };
        let full = format!("{module}.{name}");
        if runs_code(&module, &name) {
            return Err(Problem::RunsCode { name: full });
        }
        self.push_node(Node::Class(full))
    }

    fn object(&mut self, operation: u8) -> Result<(), Problem> {
        let second = self.pop()?;
        if operation == b'Q' {
            let item = self.persistent(second)?;
            return self.push(item);
        }
        if operation == b'b' {
            let object = self.top()?;
            return self.build(object, second);
        }
        // With named arguments the last value is a dictionary of them, and those before are two.
        let (arguments, named) = match operation {
            0x92 => (self.pop()?, Some(second)),
            _ => (second, None),
        };
        let callable = self.pop()?;
        let item = self.call(callable, arguments, named)?;
        self.push(item)
    }

    pub(super) fn push(&mut self, item: Item) -> Result<(), Problem> {
        self.n_pushed += 1;
        if self.n_pushed > 4 * MAX_VALUES {
            return Err(Problem::TooMany { limit: MAX_VALUES });
        }
        self.stack.push(item);
        Ok(())
    }

    fn push_node(&mut self, node: Node) -> Result<(), Problem> {
        let item = self.graph.add(node)?;
        self.push(item)
    }

    /// The value on top, if it belongs to the group that is open.
    fn top(&self) -> Result<Item, Problem> {
        let floor = self.marks.last().copied().unwrap_or_default();
        let above = self.stack.get(floor..).unwrap_or_default();
        above.last().copied().ok_or(Problem::NoValue)
    }

    fn pop(&mut self) -> Result<Item, Problem> {
        let top = self.top()?;
        self.stack.pop();
        Ok(top)
    }

    /// All values of the group that is open, which is closed.
    fn pop_group(&mut self) -> Result<Vec<Item>, Problem> {
        let mark = self.marks.pop().ok_or(Problem::NoValue)?;
        Ok(self.stack.split_off(mark.min(self.stack.len())))
    }
}

/// Keys and values in turn.
fn even(items: Vec<Item>) -> Result<Vec<Item>, Problem> {
    if items.len().is_multiple_of(2) {
        return Ok(items);
    }
    Err(Problem::NoValue)
}

/// The number of little-endian bytes in two's complement, unless it needs more than 64 bits.
fn int_of(bytes: &[u8]) -> Option<i64> {
    let is_negative = bytes.last().is_some_and(|byte| byte & 0x80 != 0);
    let fill = if is_negative { 0xff } else { 0 };
    let (low, high) = bytes.split_at(bytes.len().min(8));
    let mut value = [fill; 8];
    value[..low.len()].copy_from_slice(low);
    let value = i64::from_le_bytes(value);
    let fits = high.iter().all(|&byte| byte == fill) && (value < 0) == is_negative;
    fits.then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_numbers_are_read_as_python_writes_them() {
        for (bytes, expected) in [
            (&[][..], Some(0)),
            (&[0xff], Some(-1)),
            (&[0xff, 0], Some(255)),
            (&[0, 0, 0, 0, 0, 0, 0, 0x80], Some(i64::MIN)),
            (&[0, 0, 0, 0, 0, 0, 0, 0x80, 0xff], Some(i64::MIN)),
            (&[0, 0, 0, 0, 0, 0, 0, 0x80, 0], None),
            (&[1, 0, 0, 0, 0, 0, 0, 0, 1], None),
        ] {
            assert_eq!(int_of(bytes), expected, "{bytes:?}");
        }
    }
}
