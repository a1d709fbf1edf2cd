"""A contender of graybox-bench: one step in JAX or PyTorch, as fast as its users would make it.

    python peer.py NAME joint ROWS POLICY_WIDTH SURROGATE_WIDTH
    python peer.py NAME population MEMBERS ROWS

NAME is jax, jax-callback, torch or torch-compile. It prints "ready" once everything is compiled; then for
every number of steps it reads, it does them and prints {"fastest": seconds, "cpu": seconds}, per step.

Needs numpy, and jax with optax or torch. One thread, where the library lets itself be told.
"""

import json
import os
import sys
import time

for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[variable] = "1"
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ["XLA_FLAGS"] = (
    os.environ.get("XLA_FLAGS", "")
    + " --xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
)

import numpy as np

LAMBDA, RATE, SIGMA = 0.5, 1e-3, 0.05


def oracle(x, u):
    """The black box, on the host: [n, 2], [n, 1] -> [n, 2]."""
    return np.concatenate([x[:, :1] * u + 0.3 * u * u, x[:, 1:] - u], axis=1)


def rows(n):
    rng = np.random.default_rng(1)
    draw = lambda: rng.uniform(-1, 1, (n, 2)).astype(np.float32)
    return draw(), draw()


def weights(widths):
    rng = np.random.default_rng(2)
    layers = []
    for i, o in zip(widths, widths[1:]):
        limit = (6 / (i + o)) ** 0.5
        layers.append((rng.uniform(-limit, limit, (i, o)), np.zeros(o)))
    return [(w.astype(np.float32), b.astype(np.float32)) for w, b in layers]


def jax_joint(n, policy, surrogate, callback):
    import jax
    import jax.numpy as jnp
    import optax

    x, target = rows(n)
    networks = (weights([2, policy, policy, 1]), weights([3, surrogate, surrogate, 2]))
    networks = jax.tree.map(jnp.asarray, networks)
    optimizer = optax.adam(RATE, b1=0.9, b2=0.99, eps=1e-8)
    state = optimizer.init(networks)
    x_device, target = jnp.asarray(x), jnp.asarray(target)

    def forward(layers, h):
        for w, b in layers[:-1]:
            h = jnp.tanh(h @ w + b)
        w, b = layers[-1]
        return h @ w + b

    act = jax.jit(lambda networks, x: forward(networks[0], x))

    def loss(networks, x, y, target):
        u = forward(networks[0], x)
        if y is None:
            shape = jax.ShapeDtypeStruct((n, 2), jnp.float32)
            ask = lambda x, u: oracle(np.asarray(x), np.asarray(u)).astype(np.float32)
            y = jax.pure_callback(ask, shape, x, jax.lax.stop_gradient(u))
        y_hat = forward(networks[1], jnp.concatenate([x, u], axis=1))
        fit = jnp.mean((y_hat - target) ** 2)
        return fit + LAMBDA * jnp.mean((y_hat - y) ** 2)

    def update(networks, state, x, y, target):
        value, gradient = jax.value_and_grad(loss)(networks, x, y, target)
        updates, state = optimizer.update(gradient, state)
        return optax.apply_updates(networks, updates), state, value

    if callback:
        whole = jax.jit(lambda p, s, x, t: update(p, s, x, None, t), donate_argnums=(0, 1))

        def step():
            nonlocal networks, state
            networks, state, value = whole(networks, state, x_device, target)
            value.block_until_ready()

    else:
        learn = jax.jit(update, donate_argnums=(0, 1))

        def step():
            nonlocal networks, state
            u = np.asarray(act(networks, x_device))
            networks, state, value = learn(networks, state, x_device, oracle(x, u), target)
            value.block_until_ready()

    return step


def jax_population(members, n):
    import jax
    import jax.numpy as jnp
    import optax
    from jax.flatten_util import ravel_pytree

    x, target = rows(n)
    flat, unravel = ravel_pytree(jax.tree.map(jnp.asarray, weights([2, 32, 32, 1])))
    noise = np.random.default_rng(3).uniform(-1.7, 1.7, (members // 2, flat.size))
    noise = jnp.asarray(noise, jnp.float32)
    optimizer = optax.adam(RATE, b1=0.9, b2=0.99, eps=1e-8)
    state = optimizer.init(flat)
    x_device = jnp.asarray(x)

    def forward(flat, h):
        layers = unravel(flat)
        for w, b in layers[:-1]:
            h = jnp.tanh(h @ w + b)
        w, b = layers[-1]
        return h @ w + b

    @jax.jit
    def act(flat, x):
        offsets = SIGMA * noise
        everyone = jnp.concatenate([flat + offsets, flat - offsets])
        return jax.vmap(forward, (0, None))(everyone, x)

    @jax.jit
    def learn(flat, state, losses):
        plus, minus = jnp.split(losses, 2)
        gradient = (plus - minus) @ noise / (2 * SIGMA * plus.size)
        updates, state = optimizer.update(gradient, state)
        return flat + updates, state

    def step():
        nonlocal flat, state
        u = np.asarray(act(flat, x_device))
        flat, state = learn(flat, state, population_losses(x, target, u))
        flat.block_until_ready()

    return step


def population_losses(x, target, u):
    """[members, n, 1] -> [members]"""
    y = np.concatenate([x[:, :1] * u + 0.3 * u * u, x[:, 1:] - u], axis=2)
    return ((y - target) ** 2).sum(axis=2).mean(axis=1)


def torch_network(torch, widths):
    layers = []
    for w, b in weights(widths):
        linear = torch.nn.Linear(*w.shape)
        linear.weight.data = torch.tensor(w.T.copy())
        linear.bias.data = torch.tensor(b)
        layers += [linear, torch.nn.Tanh()]
    return torch.nn.Sequential(*layers[:-1])


def torch_joint(n, policy, surrogate, compiled):
    import torch

    torch.set_num_threads(1)
    x, target = rows(n)
    policy = torch_network(torch, [2, policy, policy, 1])
    surrogate = torch_network(torch, [3, surrogate, surrogate, 2])
    parameters = [*policy.parameters(), *surrogate.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=RATE, betas=(0.9, 0.99), eps=1e-8, fused=True)
    x_device, target = torch.tensor(x), torch.tensor(target)

    def loss_of(u, y):
        y_hat = surrogate(torch.cat([x_device, u], dim=1))
        return ((y_hat - target) ** 2).mean() + LAMBDA * ((y_hat - y) ** 2).mean()

    act = torch.compile(policy) if compiled else policy
    loss_of = torch.compile(loss_of) if compiled else loss_of

    def step():
        u = act(x_device)
        y = torch.from_numpy(oracle(x, u.detach().numpy()))
        optimizer.zero_grad(set_to_none=True)
        loss_of(u, y).backward()
        optimizer.step()

    return step


def torch_population(members, n, compiled):
    import torch

    torch.set_num_threads(1)
    x, target = rows(n)
    widths = [2, 32, 32, 1]
    flat = np.concatenate([p.ravel() for layer in weights(widths) for p in layer])
    flat = torch.tensor(flat, requires_grad=True)
    noise = np.random.default_rng(3).uniform(-1.7, 1.7, (members // 2, flat.numel()))
    noise = torch.tensor(noise, dtype=torch.float32)
    optimizer = torch.optim.Adam([flat], lr=RATE, betas=(0.9, 0.99), eps=1e-8, fused=True)
    x_device = torch.tensor(x)

    def act(flat, x):
        offsets = SIGMA * noise
        everyone = torch.cat([flat + offsets, flat - offsets])
        h, at = x.expand(members, n, 2), 0
        for layer, (i, o) in enumerate(zip(widths, widths[1:])):
            w = everyone[:, at : at + i * o].reshape(members, i, o)
            b = everyone[:, at + i * o : at + i * o + o].reshape(members, 1, o)
            h, at = torch.baddbmm(b, h, w), at + i * o + o
            if layer < 2:
                h = torch.tanh(h)
        return h

    act = torch.compile(act) if compiled else act

    def step():
        with torch.no_grad():
            u = act(flat, x_device).numpy()
            losses = torch.from_numpy(population_losses(x, target, u))
            plus, minus = losses.float().chunk(2)
            flat.grad = (plus - minus) @ noise / (2 * SIGMA * plus.numel())
        optimizer.step()

    return step


def main():
    name, kind, *sizes = sys.argv[1:]
    sizes = [int(size) for size in sizes]
    library, _, variant = name.partition("-")
    if kind == "joint":
        joint = {"jax": jax_joint, "torch": torch_joint}[library]
        step = joint(*sizes, variant != "")
    elif library == "jax":
        step = jax_population(*sizes)
    else:
        step = torch_population(*sizes, variant != "")
    for _ in range(3):
        step()
    print("ready", flush=True)
    for line in sys.stdin:
        steps = int(line)
        fastest, cpu = float("inf"), time.process_time()
        for _ in range(steps):
            start = time.perf_counter()
            step()
            fastest = min(fastest, time.perf_counter() - start)
        cpu = (time.process_time() - cpu) / steps
        print(json.dumps({"fastest": fastest, "cpu": cpu}), flush=True)


main()
