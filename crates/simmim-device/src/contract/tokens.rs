//! Tokens that are hidden, put before others, picked out, averaged, attended to.

use super::subject::{F32, Subject, gradient};
use crate::layers::{PoolDims, PoolGradients, PoolInputs, TokenDims};

pub(super) fn check(subject: &mut Subject<'_>) {
    hide(subject);
    prepend(subject);
    gather(subject);
    gather_columns(subject);
    means(subject);
    attentive_pool(subject);
}

fn hide(subject: &mut Subject<'_>) {
    let (rows, width) = (subject.size(40), subject.size(21));
    let n = rows * width;
    let (x, dy) = (subject.values(n, 1.0), subject.values(n, 1.0));
    let (hidden, token) = (subject.flags(rows), subject.values(width, 1.0));
    let define = |x: &[f64], token: &[f64]| {
        let of = |i: usize| {
            if hidden[i / width] == 1.0 {
                token[i % width]
            } else {
                x[i]
            }
        };
        (0..n).map(of).collect::<Vec<_>>()
    };
    let [x_on, dy_on, hidden_on, token_on] =
        [&x, &dy, &hidden, &token].map(|values| subject.up(values));
    let mut y = subject.out(n);
    subject.device.hide(&x_on, &hidden_on, &token_on, &mut y);
    subject.compare_buffer("hide", &y, &define(&x, &token), 0.0);
    let mut dx = subject.out(n);
    let dtoken = subject.device.hide_backward(&dy_on, &hidden_on, &mut dx);
    let expected = gradient(&x, &dy, |x| define(x, &token));
    subject.compare_buffer("hide, dx", &dx, &expected, F32);
    let expected = gradient(&token, &dy, |token| define(&x, token));
    subject.compare_buffer("hide, dtoken", &dtoken, &expected, F32);
}

fn prepend(subject: &mut Subject<'_>) {
    let (batch, tokens, width) = (subject.size(5), subject.size(7), subject.size(21));
    let x = subject.values(batch * tokens * width, 1.0);
    let (token, dy) = (
        subject.values(width, 1.0),
        subject.values(batch * (tokens + 1) * width, 1.0),
    );
    let define = |x: &[f64], token: &[f64]| {
        let samples = x.chunks(tokens * width);
        samples
            .flat_map(|x| [token, x].concat())
            .collect::<Vec<_>>()
    };
    let [x_on, dy_on, token_on] = [&x, &dy, &token].map(|values| subject.up(values));
    let mut y = subject.out(dy.len());
    subject.device.prepend(&x_on, &token_on, tokens, &mut y);
    subject.compare_buffer("prepend", &y, &define(&x, &token), 0.0);
    let mut dx = subject.out(x.len());
    let dtoken = subject
        .device
        .prepend_backward(&dy_on, tokens, width, &mut dx);
    let expected = gradient(&x, &dy, |x| define(x, &token));
    subject.compare_buffer("prepend, dx", &dx, &expected, F32);
    let expected = gradient(&token, &dy, |token| define(&x, token));
    subject.compare_buffer("prepend, dtoken", &dtoken, &expected, F32);
}

fn gather(subject: &mut Subject<'_>) {
    let (rows, width, n) = (subject.size(20), subject.size(21), subject.size(30));
    let (x, dy) = (
        subject.values(rows * width, 1.0),
        subject.values(n * width, 1.0),
    );
    // Some rows several times, some never.
    let index = subject.numbers(n, rows);
    let define = |x: &[f64]| {
        let row = |row: &u32| x[*row as usize * width..][..width].to_vec();
        index.iter().flat_map(row).collect::<Vec<_>>()
    };
    let (x_on, dy_on) = (subject.up(&x), subject.up(&dy));
    let index_on = subject.device.upload_index(&index);
    let mut y = subject.out(n * width);
    subject.device.gather(&x_on, &index_on, &mut y);
    subject.compare_buffer("gather", &y, &define(&x), 0.0);
    let mut dx = subject.out(x.len());
    subject.device.gather_backward(&dy_on, &index_on, &mut dx);
    subject.compare_buffer("gather, dx", &dx, &gradient(&x, &dy, define), F32);
}

fn gather_columns(subject: &mut Subject<'_>) {
    let (rows, heads, n) = (subject.size(20), subject.size(5), subject.size(60));
    let (table, dy) = (
        subject.values(rows * heads, 1.0),
        subject.values(heads * n, 1.0),
    );
    let index = subject.numbers(n, rows);
    let define = |table: &[f64]| {
        let at = |i: usize| table[index[i % n] as usize * heads + i / n];
        (0..heads * n).map(at).collect::<Vec<_>>()
    };
    let (table_on, dy_on) = (subject.up(&table), subject.up(&dy));
    let index_on = subject.device.upload_index(&index);
    let mut y = subject.out(heads * n);
    subject.device.gather_columns(&table_on, &index_on, &mut y);
    subject.compare_buffer("gather_columns", &y, &define(&table), 0.0);
    let mut dtable = subject.out(table.len());
    subject
        .device
        .gather_columns_backward(&dy_on, &index_on, &mut dtable);
    let expected = gradient(&table, &dy, define);
    subject.compare_buffer("gather_columns, dtable", &dtable, &expected, F32);
}

fn means(subject: &mut Subject<'_>) {
    let (batch, tokens, width) = (subject.size(5), subject.size(9), subject.size(21));
    let dims = TokenDims { tokens, width };
    let (x, dy) = (
        subject.values(batch * tokens * width, 1.0),
        subject.values(batch * width, 1.0),
    );
    let define = |x: &[f64], first: usize| {
        let mean = |i: usize| {
            let sample = &x[i / width * tokens * width..][..tokens * width];
            let values = sample[first * width + i % width..].iter().step_by(width);
            values.sum::<f64>() / (tokens - first) as f64
        };
        (0..batch * width).map(mean).collect::<Vec<_>>()
    };
    let (x_on, dy_on) = (subject.up(&x), subject.up(&dy));
    let mut y = subject.out(batch * width);
    subject.device.mean_tokens(&x_on, dims, &mut y);
    subject.compare_buffer("mean_tokens", &y, &define(&x, 0), F32);
    let mut dx = subject.out(x.len());
    subject.device.mean_tokens_backward(&dy_on, dims, &mut dx);
    let expected = gradient(&x, &dy, |x| define(x, 0));
    subject.compare_buffer("mean_tokens, dx", &dx, &expected, F32);
    let first = subject.below(tokens);
    let mut y = subject.out(batch * width);
    subject.device.pool_tokens(&x_on, dims, first, &mut y);
    subject.compare_buffer("pool_tokens", &y, &define(&x, first), F32);
}

fn attentive_pool(subject: &mut Subject<'_>) {
    let (batch, tokens) = (subject.size(5), subject.size(9));
    let (queries, slice) = (subject.size(4), subject.size(5));
    let dims = PoolDims {
        tokens,
        width: queries * slice,
        queries,
        scale: 0.7,
    };
    let scores = subject.values(batch * tokens * queries, 2.0);
    let values = subject.values(batch * tokens * dims.width, 1.0);
    let dy = subject.values(batch * dims.width, 1.0);
    let define = |scores: &[f64], values: &[f64]| {
        let of = |i: usize| {
            let (image, column) = (i / dims.width, i % dims.width);
            let score = |token| scores[(image * tokens + token) * queries + column / slice];
            let exps: Vec<f64> = (0..tokens)
                .map(|token| (f64::from(dims.scale) * score(token)).exp())
                .collect();
            let value = |token| values[(image * tokens + token) * dims.width + column];
            let products = exps
                .iter()
                .enumerate()
                .map(|(token, exp)| exp * value(token));
            products.sum::<f64>() / exps.iter().sum::<f64>()
        };
        (0..batch * dims.width).map(of).collect::<Vec<_>>()
    };
    let [scores_on, values_on, dy_on] = [&scores, &values, &dy].map(|values| subject.up(values));
    let inputs = PoolInputs {
        scores: &scores_on,
        values: &values_on,
        dims,
    };
    let mut y = subject.out(dy.len());
    subject.device.attentive_pool(inputs, &mut y);
    subject.compare_buffer("attentive_pool", &y, &define(&scores, &values), F32);
    let (mut dscores, mut dvalues) = (subject.out(scores.len()), subject.out(values.len()));
    let d = PoolGradients {
        scores: &mut dscores,
        values: &mut dvalues,
    };
    subject.device.attentive_pool_backward(inputs, &dy_on, d);
    let expected = gradient(&scores, &dy, |scores| define(scores, &values));
    subject.compare_buffer("attentive_pool, dscores", &dscores, &expected, F32);
    let expected = gradient(&values, &dy, |values| define(&scores, values));
    subject.compare_buffer("attentive_pool, dvalues", &dvalues, &expected, F32);
}
