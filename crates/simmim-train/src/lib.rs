//! The verbs of simmim: pretrain, reconstruct; recipes, run folders, exact resume.
