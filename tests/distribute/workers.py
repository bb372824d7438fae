"""A simulation, in NumPy, of workers that train a linear model on their own."""

import numpy as np

RNG = np.random.default_rng(0)
# Two halves of each batch are from different distributions, so that workers drift.
X = RNG.normal(size=(20, 2, 4, 3)) * np.array([1.0, 0.5])[:, None, None]
Y = X @ np.array([[1.0], [-2.0], [0.5]]) + np.array([0.5, -1.0])[:, None, None]
BATCH_SIZE = 8
RATE, MOMENTUM = 0.05, 0.9


def arrays():
    """All samples in order, to be given to `fit` without shuffling."""
    return X.reshape(-1, 3).astype("float32"), Y.reshape(-1, 1).astype("float32")


class Workers:
    """Two workers with momentum SGD and the mean squared error, in float64."""

    def __init__(self, weights):
        self.x = np.repeat(np.float64(weights)[None], 2, axis=0)
        self.v = np.zeros_like(self.x)
        self.reductions = 0

    def gradients(self, batch):
        pairs = zip(X[batch], Y[batch], self.x, strict=True)
        return np.stack([2 * a.T @ (a @ w - b) / len(a) for a, b, w in pairs])

    def move(self, gradients):
        self.v = MOMENTUM * self.v - RATE * gradients
        self.x = self.x + self.v

    def average(self, state):
        self.x[:] = self.x.mean(axis=0)
        if state:
            self.v[:] = self.v.mean(axis=0)
        self.reductions += 1


def local_sgd(weights, epochs, sync_every, average_state):
    """The weights, momenta and reductions after each epoch."""
    workers, found = Workers(weights), []
    for _ in range(epochs):
        since = 0
        for batch in range(len(X)):
            workers.move(workers.gradients(batch))
            since += 1
            if since == sync_every:
                workers.average(average_state or sync_every == 1)
                since = 0
        # Between epochs, everything is averaged.
        if since or not (average_state or sync_every == 1):
            workers.average(state=True)
        found.append((workers.x[0].copy(), workers.v[0].copy(), workers.reductions))
    return found


def elastic_averaging(weights, epochs, sync_every, elasticity):
    """The center after each epoch, and the reductions."""
    workers, found = Workers(weights), []
    center, step, a = np.float64(weights), 0, elasticity / 2
    for _ in range(epochs):
        for batch in range(len(X)):
            gradients = workers.gradients(batch)
            if step and step % sync_every == 0:
                distance = workers.x - center
                workers.x = workers.x - a * distance
                center = center + a * distance.sum(axis=0)
                workers.reductions += 1
            workers.move(gradients)
            step += 1
        found.append((center, workers.v.mean(axis=0), workers.reductions))
    return found
