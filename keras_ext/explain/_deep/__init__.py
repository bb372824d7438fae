"""DeepLIFT for Keras layers: a record of the calls of a model, and a rule for each."""
