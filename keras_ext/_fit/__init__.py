"""What callbacks put on a model for the time of a `fit`, and take off again."""
