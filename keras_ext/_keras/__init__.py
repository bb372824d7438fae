"""The seam: private names of Keras and TensorFlow, what is put on their classes,
and tf.distribute.
"""
