//! Attention over buffers of either element.

use super::storage::{floats, floats_mut, values, values_mut};
use super::views::slices;
use crate::attention;
use crate::value::{Floats, FloatsMut};
use simmim_device::{AttentionPattern, Buffer, Device, Element, Precision, SavedAttention};

/// A copy in f32.
fn widened(device: &dyn Device, buffer: &Buffer) -> Buffer {
    let mut wide = device.allocate(buffer.len(), Element::F32);
    device.copy(buffer, &mut wide);
    wide
}

pub(super) fn attention(
    device: &dyn Device,
    precision: Precision,
    qkv: &Buffer,
    pattern: AttentionPattern<'_>,
    out: &mut Buffer,
) -> Option<Buffer> {
    if qkv.element() != out.element() {
        // Kernels are there for one element: no model has two.
        let qkv = widened(device, qkv);
        let mut wide = device.allocate(out.len(), Element::F32);
        let stats = attention(device, precision, &qkv, pattern, &mut wide);
        device.copy(&wide, out);
        device.release(wide);
        device.release(qkv);
        return stats;
    }
    let pattern = slices(pattern, precision);
    let len = attention::stats_len(pattern, out.len());
    let mut stats = (len > 0).then(|| device.allocate(len, Element::F32));
    let of_rows = stats.as_mut().map_or(&mut [][..], values_mut);
    match (floats(qkv), floats_mut(out)) {
        (Floats::Bf16(qkv), FloatsMut::Bf16(out)) => {
            attention::attention(qkv, pattern, out, of_rows);
        }
        (Floats::F32(qkv), FloatsMut::F32(out)) => {
            attention::attention(qkv, pattern, out, of_rows);
        }
        _ => unreachable!("both are of one element, as has been seen"),
    }
    stats
}

/// The gradient of the result, and where that of q k v goes.
pub(super) struct Gradients<'a> {
    pub(super) dout: &'a Buffer,
    pub(super) dqkv: &'a mut Buffer,
}

pub(super) fn attention_backward(
    device: &dyn Device,
    precision: Precision,
    saved: SavedAttention<'_>,
    pattern: AttentionPattern<'_>,
    gradients: Gradients<'_>,
) -> Option<Buffer> {
    let SavedAttention { qkv, out, stats } = saved;
    let Gradients { dout, dqkv } = gradients;
    let element = dqkv.element();
    if [qkv, out, dout]
        .iter()
        .any(|buffer| buffer.element() != element)
    {
        let [qkv, out, dout] = [qkv, out, dout].map(|buffer| widened(device, buffer));
        let mut wide = device.allocate(dqkv.len(), Element::F32);
        let saved = SavedAttention {
            qkv: &qkv,
            out: &out,
            stats,
        };
        let to = Gradients {
            dout: &dout,
            dqkv: &mut wide,
        };
        let dbias = attention_backward(device, precision, saved, pattern, to);
        device.copy(&wide, dqkv);
        for buffer in [wide, qkv, out, dout] {
            device.release(buffer);
        }
        return dbias;
    }
    let mut dbias = pattern
        .bias
        .map(|bias| device.allocate(bias.len(), Element::F32));
    let to = dbias.as_mut().map_or(&mut [][..], values_mut);
    let (pattern, stats) = (slices(pattern, precision), stats.map_or(&[][..], values));
    match (floats(qkv), floats(out), floats(dout), floats_mut(dqkv)) {
        (Floats::Bf16(qkv), Floats::Bf16(out), Floats::Bf16(dout), FloatsMut::Bf16(dqkv)) => {
            let saved = attention::Saved { qkv, out, stats };
            attention::attention_backward(saved, pattern, dout, dqkv, to);
        }
        (Floats::F32(qkv), Floats::F32(out), Floats::F32(dout), FloatsMut::F32(dqkv)) => {
            let saved = attention::Saved { qkv, out, stats };
            attention::attention_backward(saved, pattern, dout, dqkv, to);
        }
        _ => unreachable!("all are of one element, as has been seen"),
    }
    dbias
}
