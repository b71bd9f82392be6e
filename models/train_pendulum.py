"""Train a small network to balance a pendulum, by following gradients through a simulation of it.

What it makes, next to this file:

  pendulum.onnx         2-32-32-1: from (angle, angular velocity) to the torque
  pendulum-half.onnx    2-16-16-1: a smaller network that was taught by the first

How to run it (Python 3.11 or later; no arguments, a minute or two on a CPU):

  python -m pip install -r requirements.txt
  python train_pendulum.py

The task: a pendulum of length 1, mass 1 and gravity 1 that stands upright at angle 0, with friction, and a torque that is
held for DT seconds at a time:  angle'' = sin(angle) - FRICTION * angle' + torque.  The operating region is |angle| <= 1,
|velocity| <= 1 (radians, and radians a second).  The cost of a run is what the angle, the velocity and the torque amount
to over its steps; its gradient in the weights comes from the whole simulated run.

The script asserts that the network brings the pendulum upright from everywhere on a grid of the region.  Every random
choice is drawn from the SEED of train_digits.py.
"""

import jax
import jax.numpy as jnp
import numpy as np
from onnx.reference import ReferenceEvaluator

import train_digits as digits

DT = 0.05  # seconds for which a torque is held
STEPS = 120  # of a run
FRICTION = 0.1
ROUNDS = 3000
BATCH = 128
RATE = 3e-3
LESSONS = 6000  # steps of the smaller network
RESTS = 0.02  # angle and velocity at the end of a run that count as upright


def moved(state, torque):
    """The states, one a row, after a torque was held for DT: one step of the classical Runge-Kutta method."""

    def slope(s):
        angle, velocity = s[:, 0], s[:, 1]
        return jnp.stack([velocity, jnp.sin(angle) - FRICTION * velocity + torque], 1)

    a = slope(state)
    b = slope(state + DT / 2 * a)
    c = slope(state + DT / 2 * b)
    d = slope(state + DT * c)
    return state + DT / 6 * (a + 2 * b + 2 * c + d)


def run(params, state):
    """The states and torques of a run."""

    def step(s, _):
        torque = digits.forward(params, s)[:, 0]
        return moved(s, torque), (s, torque)

    return jax.lax.scan(step, state, None, STEPS)


def cost(params, state):
    _, (states, torques) = run(params, state)
    spent = states[..., 0] ** 2 + 0.1 * states[..., 1] ** 2 + 0.05 * torques**2
    return spent.mean()


def lesson(params, state, torque):
    return ((digits.forward(params, state)[:, 0] - torque) ** 2).mean()


def optimised(params, loss, batches, count):
    """The parameters after so many steps of Adam on the loss, of batches in turn, at a rate that falls to zero."""
    mean, square = (jax.tree.map(jnp.zeros_like, params) for _ in range(2))

    @jax.jit
    def step(params, mean, square, number, rate, *batch):
        return digits.adam(params, jax.grad(loss)(params, *batch), mean, square, number, rate)

    for number in range(count):
        rate = RATE * 0.5 * (1 + np.cos(np.pi * number / count))
        params, mean, square = step(params, mean, square, number + 1.0, rate, *next(batches))
    return params


def states(rng, count):
    """Random states of the region."""
    return jnp.asarray(rng.uniform(-1, 1, (count, 2)), jnp.float32)


def judge(params, name):
    """Writes the network, and asserts that it brings every state of a grid upright."""
    path = digits.HERE / name
    digits.export_onnx(digits.arrays(params), path, "train_pendulum.py", "torque")
    line = np.linspace(-1, 1, 41, dtype=np.float32)
    grid = np.stack(np.meshgrid(line, line), -1).reshape(-1, 2)
    (torque,) = ReferenceEvaluator(str(path)).run(None, {"input": grid})
    assert np.allclose(torque, digits.forward(params, jnp.asarray(grid)), rtol=1e-4, atol=1e-5)
    last, (seen, _) = run(params, jnp.asarray(grid))
    assert np.abs(last).max() < RESTS, np.abs(last).max()
    print(
        f"{name}: {len(grid)} states of a grid end within {np.abs(last).max():.4f} of upright;",
        f"on the way |angle| is at most {np.abs(seen[..., 0]).max():.3f}, |velocity| {np.abs(seen[..., 1]).max():.3f};",
        f"|torque| in the region at most {np.abs(torque).max():.3f}",
    )


rng = np.random.default_rng(digits.SEED)
teacher = digits.initial_parameters(rng, (2, 32, 32, 1))
teacher = optimised(teacher, cost, iter(lambda: (states(rng, BATCH),), None), ROUNDS)
judge(teacher, "pendulum.onnx")


def lessons():
    while True:
        batch = states(rng, 4 * BATCH)
        yield batch, digits.forward(teacher, batch)[:, 0]


pupil = digits.initial_parameters(rng, (2, 16, 16, 1))
judge(optimised(pupil, lesson, lessons(), LESSONS), "pendulum-half.onnx")
