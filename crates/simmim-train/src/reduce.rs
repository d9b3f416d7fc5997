//! Gradients summed over the ranks of a training while the backward pass still runs.

use std::mem;
use std::ops::Range;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use simmim_autograd::{
    Device, Gradients, ParameterId, Parameters, Peers, Precision, Seat, Summing, Tape, Tensor, Var,
};
use simmim_collective::{Collective, Wire};
use simmim_config::keys::Train;

use crate::error::Error;

/// How gradients travel.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Travel {
    /// Values that travel together: few enough that the first leave early, enough that a call's own cost is small.
    ///
    /// Source of the default: PyTorch's `DistributedDataParallel` has the same, `bucket_cap_mb`.
    bucket_values: usize,
    precision: Precision,
    /// How long another rank may be silent.
    patience: Duration,
}

impl Travel {
    pub(crate) fn new(train: &Train) -> Self {
        Self {
            bucket_values: train.bucket_mb * 1_000_000 / size_of::<f32>(),
            precision: train.reduce_precision,
            patience: Duration::from_secs(train.rank_timeout_secs as u64),
        }
    }

    fn wire(self) -> Wire {
        match self.precision {
            Precision::F32 => Wire::F32,
            Precision::Bf16 => Wire::Bf16,
        }
    }
}

/// By what gradients are summed over ranks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// By the devices themselves, without a way through the hosts.
    Devices,
    /// By the hosts.
    Hosts,
}

/// The way that all ranks can go: that of the devices where each has one that can, which are then joined.
///
/// # Errors
/// [`Error::Ranks`].
pub(crate) fn meet(
    collective: &dyn Collective,
    device: &dyn Device,
    travel: Travel,
) -> Result<Way, Error> {
    if collective.is_alone() {
        return Ok(Way::Hosts);
    }
    let peers = device.peers();
    let mut n_able = [f64::from(u8::from(peers.is_some()))];
    collective.all_reduce_f64(&mut n_able)?;
    let is_each = n_able == [collective.world() as f64];
    let Some(peers) = peers.filter(|_| is_each) else {
        return Ok(Way::Hosts);
    };
    let mut meeting = Vec::new();
    if collective.is_first() {
        meeting = peers.meeting();
    }
    collective.broadcast(&mut meeting)?;
    peers.join(Seat {
        rank: collective.rank(),
        world: collective.world(),
        meeting: &meeting,
        patience: travel.patience,
    });
    Ok(Way::Devices)
}

/// Gradients that travel together, one after the other.
#[derive(Debug, Default)]
struct Bucket {
    members: Vec<(ParameterId, Range<usize>)>,
    values: Vec<f32>,
}

impl Bucket {
    fn add(&mut self, id: ParameterId, gradient: &Tensor) {
        let first = self.values.len();
        self.values.extend(gradient.to_vec());
        self.members.push((id, first..self.values.len()));
    }
}

/// As [`Tape::backward`]; afterwards `gradients`, with what was there before, are the sums over all ranks.
///
/// # Errors
/// [`Error::Ranks`] when another rank has ended; `gradients` are then of no use.
pub(crate) fn backward_and_reduce(
    tape: Tape<'_>,
    loss: Var,
    gradients: &mut Gradients,
    ranks: Ranks<'_>,
) -> Result<(), Error> {
    match ranks.parameters.device().peers() {
        Some(peers) if ranks.way == Way::Devices => {
            let sender = Sender {
                peers,
                travel: ranks.travel,
                ids: Vec::new(),
                tensors: Vec::new(),
                sent: Vec::new(),
            };
            by_devices(tape, loss, gradients, ranks.parameters, sender);
            Ok(())
        }
        _ => by_hosts(tape, loss, gradients, ranks),
    }
}

/// The order of the sums depends on the forward code alone, so every rank has the same, and the same ranks get the same
/// bits. A thread of its own talks to the other ranks: calls that return at once do not move data by themselves.
///
/// # Errors
/// [`Error::Ranks`] when another rank has ended; `gradients` are then of no use.
fn by_hosts(
    tape: Tape<'_>,
    loss: Var,
    gradients: &mut Gradients,
    ranks: Ranks<'_>,
) -> Result<(), Error> {
    let Ranks {
        collective,
        parameters,
        travel,
        ..
    } = ranks;
    // Without a bound: the backward pass never waits for the other ranks.
    let (full, buckets) = channel();
    let summed = thread::scope(|scope| {
        let talk = scope.spawn(move || sum_all(collective, travel.wire(), &buckets));
        let mut bucket = Bucket::default();
        let mut send = |id: ParameterId, gradient: &Tensor| {
            bucket.add(id, gradient);
            if bucket.values.len() >= travel.bucket_values {
                // Nobody takes it once another rank has ended, which the thread reports below.
                let _ = full.send(mem::take(&mut bucket));
            }
        };
        backward_over_all(tape, loss, gradients, parameters, &mut send);
        let _ = full.send(bucket);
        drop(full);
        talk.join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })?;
    // Replaced, not added to: what this rank had is part of the sums.
    for Bucket { members, values } in summed {
        for (id, place) in members {
            let shape = parameters.get(id).shape();
            let sum = Tensor::from_slice(parameters.device(), shape, &values[place]);
            gradients.replace(id, sum);
        }
    }
    Ok(())
}

/// Between whom, and of what, gradients are summed.
#[derive(Clone, Copy)]
pub(crate) struct Ranks<'a> {
    pub(crate) collective: &'a dyn Collective,
    pub(crate) parameters: &'a Parameters,
    pub(crate) travel: Travel,
    pub(crate) way: Way,
}

/// Gradients whose sums are on their way between devices.
struct Sent {
    ids: Vec<ParameterId>,
    sums: Summing,
}

/// What is asked of devices while the backward pass is still asked for.
struct Sender<'a> {
    peers: &'a dyn Peers,
    travel: Travel,
    ids: Vec<ParameterId>,
    tensors: Vec<Tensor>,
    sent: Vec<Sent>,
}

impl Sender<'_> {
    fn add(&mut self, id: ParameterId, gradient: &Tensor) {
        self.ids.push(id);
        self.tensors.push(gradient.clone());
        let n_values: usize = self.tensors.iter().map(Tensor::len).sum();
        if n_values >= self.travel.bucket_values {
            self.send();
        }
    }

    fn send(&mut self) {
        if !self.ids.is_empty() {
            let tensors = mem::take(&mut self.tensors);
            self.sent.push(Sent {
                ids: mem::take(&mut self.ids),
                sums: Summing::of(tensors, self.peers, self.travel.precision),
            });
        }
    }
}

/// The devices sum among themselves, beside the backward pass; the host waits for nothing.
fn by_devices(
    tape: Tape<'_>,
    loss: Var,
    gradients: &mut Gradients,
    parameters: &Parameters,
    mut sender: Sender<'_>,
) {
    let mut send = |id: ParameterId, gradient: &Tensor| sender.add(id, gradient);
    backward_over_all(tape, loss, gradients, parameters, &mut send);
    sender.send();
    for Sent { ids, sums } in sender.sent {
        for (id, sum) in ids.into_iter().zip(sums.take()) {
            gradients.replace(id, sum);
        }
    }
}

/// As [`Tape::backward_with`]; `ready` is told of every parameter that has a gradient, in the end of those too that an earlier part of the
/// step has given one and this one has not.
fn backward_over_all(
    tape: Tape<'_>,
    loss: Var,
    gradients: &mut Gradients,
    parameters: &Parameters,
    ready: &mut dyn FnMut(ParameterId, &Tensor),
) {
    let mut is_told = vec![false; parameters.iter().len()];
    tape.backward_with(loss, gradients, &mut |id, gradient| {
        is_told[id.idx()] = true;
        ready(id, gradient);
    });
    for (id, _, _) in parameters.iter() {
        if let Some(gradient) = gradients.get(id).filter(|_| !is_told[id.idx()]) {
            ready(id, gradient);
        }
    }
}

/// The sums of all buckets, in their order.
fn sum_all(
    collective: &dyn Collective,
    wire: Wire,
    buckets: &Receiver<Bucket>,
) -> Result<Vec<Bucket>, Error> {
    let sum = |mut bucket: Bucket| {
        collective.all_reduce(&mut bucket.values, wire)?;
        Ok(bucket)
    };
    buckets.iter().map(sum).collect()
}
