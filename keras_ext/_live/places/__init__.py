"""Where Keras keeps hyperparameters, one file for each kind of owner."""
