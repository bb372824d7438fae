"""The seam: private names of Keras and TensorFlow, and what is put on their classes."""
