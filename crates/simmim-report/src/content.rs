//! All that is shown, in plain structs.

use crate::shown::Shown;

/// What a run was for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Hidden pixels.
    PreTraining,
    /// Labels.
    FineTuning,
}

/// What was found out, or why it was not.
#[derive(Debug, Clone, PartialEq)]
pub enum Part<T> {
    /// It is known.
    Found(T),
    /// It is not, for this reason: a sentence without its full stop.
    Missing(String),
}

/// A figure with its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fact {
    /// What it is.
    pub name: String,
    /// Its value, with its unit.
    pub value: String,
}

impl Fact {
    /// A figure with its name.
    pub fn new(name: impl Into<String>, value: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            value: value.into(),
        }
    }
}

/// A key of the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// Its name.
    pub key: String,
    /// What it was set to.
    pub value: String,
    /// The default, where it is another.
    pub usual: Option<String>,
}

/// A value at a step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point {
    /// Optimiser steps done.
    pub step: u64,
    /// The value; finite.
    pub value: f64,
}

/// Values over the steps of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct Line {
    /// What they are of.
    pub name: String,
    /// Step by step.
    pub points: Vec<Point>,
}

/// Lines that share their axes.
#[derive(Debug, Clone, PartialEq)]
pub struct Plot {
    /// What is shown.
    pub title: String,
    /// The unit of the values; may be empty.
    pub unit: String,
    /// The lines; those without a point are left out.
    pub lines: Vec<Line>,
}

/// An image of the data set.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// How it looks.
    pub image: Shown,
    /// Its name.
    pub name: String,
    /// Its label, where it has one.
    pub label: Option<String>,
}

/// How many images a class has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClassCount {
    /// The class.
    pub name: String,
    /// Images to train on.
    pub n_train: usize,
    /// Images held out.
    pub n_held_out: usize,
}

/// What the images are.
#[derive(Debug, Clone, PartialEq)]
pub struct DataPage {
    /// Counts and sizes.
    pub facts: Vec<Fact>,
    /// The classes, where there are labels.
    pub classes: Vec<ClassCount>,
    /// Some of the images.
    pub samples: Vec<Sample>,
}

/// A picture of reconstructions.
#[derive(Debug, Clone, PartialEq)]
pub struct Shot {
    /// The step that it was drawn at.
    pub step: u64,
    /// The epoch, where the log tells it.
    pub epoch: Option<f64>,
    /// The picture.
    pub picture: Shown,
}

/// What an encoder sees in the patches of an image.
#[derive(Debug, Clone, PartialEq)]
pub struct Look {
    /// The image.
    pub image: Sample,
    /// Its patches in colours: alike where the encoder sees alike.
    pub colours: Shown,
    /// Rows and columns of its patches.
    pub grid: [usize; 2],
    /// How much each patch is like each, from 0 to 255, row by row: that many squared. Empty where there are too many.
    pub likeness: Vec<u8>,
    /// How much each patch attends to each in the last block, in the same way: 255 for what it attends to most.
    pub attention: Vec<u8>,
}

/// An image with those that are most like it.
#[derive(Debug, Clone, PartialEq)]
pub struct Neighbours {
    /// The image.
    pub image: Sample,
    /// The nearest ones, the nearest first, with their cosine in place of a label where they have none.
    pub nearest: Vec<Sample>,
}

/// An image on a map.
#[derive(Debug, Clone, PartialEq)]
pub struct MapPoint {
    /// Across, from 0 to 1.
    pub x: f64,
    /// Up, from 0 to 1.
    pub y: f64,
    /// The image.
    pub image: Sample,
}

/// Images as an encoder places them.
#[derive(Debug, Clone, PartialEq)]
pub struct Map {
    /// The images.
    pub points: Vec<MapPoint>,
    /// What the axes tell of all variance, from 0 to 1.
    pub explained: f64,
}

/// The scores of a class; what there is no image for is none.
#[derive(Debug, Clone, PartialEq)]
pub struct ClassRow {
    /// The class.
    pub name: String,
    /// Images of it.
    pub n_images: usize,
    /// Share that is right of those predicted as it.
    pub precision: Option<f64>,
    /// Share that is predicted right of those of it.
    pub recall: Option<f64>,
    /// The harmonic mean of both.
    pub f1: Option<f64>,
}

/// Predictions of about the same confidence.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Calibration {
    /// How many.
    pub n: usize,
    /// Their mean confidence.
    pub confidence: f64,
    /// The share that is right.
    pub accuracy: f64,
}

/// An image that a classifier takes for another class, and is sure of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Mistake {
    /// The image with its own label.
    pub image: Sample,
    /// What it is taken for.
    pub predicted: String,
    /// How sure, from 0 to 1.
    pub confidence: f64,
}

/// How good a classifier is.
#[derive(Debug, Clone, PartialEq)]
pub struct LabelPage {
    /// The figures.
    pub facts: Vec<Fact>,
    /// A row for each class.
    pub classes: Vec<ClassRow>,
    /// What is taken for what, where it can be drawn.
    pub confusion: Option<Shown>,
    /// From the least confident to the most.
    pub bins: Vec<Calibration>,
    /// The worst ones, the worst first.
    pub mistakes: Vec<Mistake>,
}

/// All that is shown of one run.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// The run's name.
    pub name: String,
    /// What it was for.
    pub kind: Kind,
    /// Who wrote the page.
    pub program: String,
    /// The figures that count.
    pub facts: Vec<Fact>,
    /// What was told at the start: choices and their reasons.
    pub notes: Vec<String>,
    /// The configuration.
    pub settings: Vec<Setting>,
    /// Values over the steps.
    pub plots: Vec<Plot>,
    /// The images.
    pub data: Part<DataPage>,
    /// A batch as it is trained on.
    pub batch: Part<Shown>,
    /// Pictures of reconstructions, the oldest first.
    pub shots: Vec<Shot>,
    /// What the encoder sees in patches.
    pub looks: Part<Vec<Look>>,
    /// Images that it finds alike.
    pub neighbours: Part<Vec<Neighbours>>,
    /// All of them on a map.
    pub map: Part<Map>,
    /// How good the labels are; only for a classifier.
    pub labels: Option<Part<LabelPage>>,
}

impl Report {
    /// A report in which nothing is known.
    pub fn empty(kind: Kind) -> Self {
        fn missing<T>() -> Part<T> {
            Part::Missing("it was not looked for".to_owned())
        }
        Self {
            name: String::new(),
            kind,
            program: String::new(),
            facts: Vec::new(),
            notes: Vec::new(),
            settings: Vec::new(),
            plots: Vec::new(),
            data: missing(),
            batch: missing(),
            shots: Vec::new(),
            looks: missing(),
            neighbours: missing(),
            map: missing(),
            labels: None,
        }
    }
}

/// A run beside others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// Its name.
    pub name: String,
    /// Its figures: the same ones in the same order for all runs; empty values where it has none.
    pub facts: Vec<Fact>,
}

/// A setting in which runs differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Different {
    /// The key.
    pub key: String,
    /// Its value in each run, in their order; none where a run has no such key.
    pub values: Vec<Option<String>>,
}

/// Several runs beside each other.
#[derive(Debug, Clone, PartialEq)]
pub struct Comparison {
    /// The runs.
    pub runs: Vec<Summary>,
    /// Who wrote the page.
    pub program: String,
    /// Lines of all runs, each named by its run.
    pub plots: Vec<Plot>,
    /// In what their settings differ.
    pub settings: Vec<Different>,
}
