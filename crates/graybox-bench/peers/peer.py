"""A contender of graybox-bench: one step in JAX or PyTorch, as fast as its users would make it.

    python peer.py NAME joint ROWS POLICY_WIDTH SURROGATE_WIDTH
    python peer.py NAME population MEMBERS ROWS
    python peer.py NAME differences ROWS ACTIONS
    python peer.py jax round ROWS STEPS

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


def differences(x, target, u, step=1e-3):
    """The gradient of the mean loss with respect to the actions, by central differences: [n, d_u] -> [n, d_u]."""
    n, d_u = u.shape
    gradient = np.empty_like(u)
    for k in range(d_u):
        y = []
        for sign in (1, -1):
            probe = u.copy()
            probe[:, k] += sign * step
            y.append(oracle_of_many(x, probe))
        slope = (y[0] - y[1]) / (2 * step)
        residual = (y[0] + y[1]) / 2 - target
        gradient[:, k] = (residual * slope).sum(axis=1) / n
    return gradient


def oracle_of_many(x, u):
    """[n, 2], [n, d_u] -> [n, 2]"""
    return oracle(x, u.mean(axis=1, keepdims=True)) + [[0.3, 0.0]] * (
        (u * u).mean(axis=1, keepdims=True) - u.mean(axis=1, keepdims=True) ** 2
    )


def jax_forward(layers, h):
    import jax.numpy as jnp

    for w, b in layers[:-1]:
        h = jnp.tanh(h @ w + b)
    w, b = layers[-1]
    return h @ w + b


def jax_differences(n, d_u):
    import jax
    import jax.numpy as jnp
    import optax

    x, target = rows(n)
    policy = jax.tree.map(jnp.asarray, weights([2, 64, 64, d_u]))
    optimizer = optax.adam(RATE, b1=0.9, b2=0.99, eps=1e-8)
    state = optimizer.init(policy)
    x_device = jnp.asarray(x)
    act = jax.jit(jax_forward)

    def learn(policy, state, x, dloss_du):
        gradient = jax.grad(lambda p: jnp.sum(jax_forward(p, x) * dloss_du))(policy)
        updates, state = optimizer.update(gradient, state)
        return optax.apply_updates(policy, updates), state

    learn = jax.jit(learn, donate_argnums=(0, 1))

    def step():
        nonlocal policy, state
        u = np.asarray(act(policy, x_device), np.float64)
        gradient = differences(x, target, u).astype(np.float32)
        policy, state = learn(policy, state, x_device, gradient)
        jax.block_until_ready(policy)

    return step


def jax_soap(layers):
    """SOAP as graybox sets it: state for a list of (matrix, bias), and the function that makes a step."""
    import jax
    import jax.numpy as jnp

    beta, epsilon = 0.95, 1e-8

    def remember(p):
        moments = jnp.zeros_like(p), jnp.zeros_like(p)
        if p.ndim == 1:
            return moments
        return moments + tuple(m for n in p.shape for m in (jnp.zeros((n, n)), jnp.eye(n)))

    def turned(moment, bases):
        (gram_l, q_l), (gram_r, q_r) = bases
        mean = q_l @ moment @ q_r.T
        q_l, q_r = jnp.linalg.qr(gram_l @ q_l)[0], jnp.linalg.qr(gram_r @ q_r)[0]
        return q_l.T @ mean @ q_r, q_l, q_r

    def step(p, g, state, time, rate):
        first, second, *bases = state
        if bases:
            gram_l, q_l, gram_r, q_r = bases
            gram_l = beta * gram_l + (1 - beta) * g @ g.T
            gram_r = beta * gram_r + (1 - beta) * g.T @ g
            first, q_l, q_r = jax.lax.cond(
                time % 10 == 1,
                turned,
                lambda moment, bases: (moment, bases[0][1], bases[1][1]),
                first,
                ((gram_l, q_l), (gram_r, q_r)),
            )
            bases = [gram_l, q_l, gram_r, q_r]
            g = q_l.T @ g @ q_r
        first = beta * first + (1 - beta) * g
        second = beta * second + (1 - beta) * g * g
        spread = jnp.sqrt(second / (1 - beta**time)) + epsilon
        move = first / spread * (rate / (1 - beta**time))
        if bases:
            move = q_l @ move @ q_r.T
        return p - move, (first, second, *bases)

    def update(layers, gradients, state, time, rate):
        time = time.astype(jnp.float32)
        flat, tree = jax.tree.flatten(layers)
        pairs = zip(flat, jax.tree.leaves(gradients), state)
        new = [step(p, g, s, time, rate) for p, g, s in pairs]
        return jax.tree.unflatten(tree, [p for p, _ in new]), [s for _, s in new]

    return [remember(p) for p in jax.tree.leaves(layers)], update


def jax_round(n, steps):
    """A round of the anchored algorithm: n calls, then all inner steps inside one compiled loop."""
    import jax
    import jax.numpy as jnp

    sigma, trust, capacity = 0.14, 3.0, 4096
    batch, fresh = 64, 16
    rng = np.random.default_rng(4)
    x, target = rows(1024)
    policy = jax.tree.map(jnp.asarray, weights([2, 64, 64, 1]))
    surrogate = jax.tree.map(jnp.asarray, weights([3, 64, 64, 2]))
    policy_state, update = jax_soap(policy)
    surrogate_state, _ = jax_soap(surrogate)
    replay = np.zeros((capacity, 2 + 1 + 2 + 2), np.float32)
    known, time = 0, jnp.asarray(0)
    x_device, target_device = jnp.asarray(x), jnp.asarray(target)

    act = jax.jit(jax_forward)

    def predict(surrogate, x, u):
        return jax_forward(surrogate, jnp.concatenate([x, u], axis=1))

    def inner(carry, index):
        policy, policy_state, surrogate, surrogate_state, reference, replay, time = carry
        of_surrogate, of_policy, of_context = index
        time = time + 1
        at = replay[of_surrogate]

        def mismatch(surrogate):
            return jnp.mean((predict(surrogate, at[:, :2], at[:, 2:3]) - at[:, 3:5]) ** 2)

        gradient = jax.grad(mismatch)(surrogate)
        surrogate, surrogate_state = update(surrogate, gradient, surrogate_state, time, 3e-3)

        seen = replay[of_policy]
        contexts = jnp.concatenate([x_device[of_context], seen[:, :2]])
        wanted = jnp.concatenate([target_device[of_context], seen[:, 5:7]])
        u_0 = jax_forward(reference, contexts)

        def fit(policy):
            u = jax_forward(policy, contexts)
            y = predict(surrogate, contexts, u)
            anchored = jax.lax.stop_gradient(u[fresh:])
            missing = seen[:, 3:5] - predict(surrogate, seen[:, :2], seen[:, 2:3])
            distance = (anchored - seen[:, 2:3]) ** 2
            known = missing * jnp.exp(distance / (-2 * (2 * sigma) ** 2))
            y = y.at[fresh:].add(known)
            away = jnp.sqrt(jnp.mean((u - u_0) ** 2, axis=1) + 1e-12)
            outside = jnp.maximum(away - sigma, 0) ** 2
            return jnp.mean((y - wanted) ** 2) + trust * jnp.mean(outside)

        gradient = jax.grad(fit)(policy)
        policy, policy_state = update(policy, gradient, policy_state, time, 3e-3)
        return (policy, policy_state, surrogate, surrogate_state, reference, replay, time), None

    @jax.jit
    def learn(policy, policy_state, surrogate, surrogate_state, replay, time, indices):
        carry = (policy, policy_state, surrogate, surrogate_state, policy, replay, time)
        carry, _ = jax.lax.scan(inner, carry, indices)
        return carry[:4], carry[6]

    def step():
        nonlocal policy, policy_state, surrogate, surrogate_state, known, time
        drawn = rng.integers(0, len(x), n)
        u = np.asarray(act(policy, x[drawn]))
        u = u + sigma * rng.standard_normal(u.shape).astype(np.float32)
        y = oracle(x[drawn], u)
        at = (known + np.arange(n)) % capacity
        replay[at] = np.concatenate([x[drawn], u, y, target[drawn]], axis=1)
        known += n
        kept = min(known, capacity)
        newest = max(1, int(0.3 * kept))
        indices = (
            rng.integers(0, kept, (steps, batch)),
            (known - 1 - rng.integers(0, newest, (steps, fresh))) % capacity,
            rng.integers(0, len(x), (steps, fresh)),
        )
        (policy, policy_state, surrogate, surrogate_state), time = learn(
            policy, policy_state, surrogate, surrogate_state, replay, time, indices
        )
        jax.block_until_ready(policy)

    return step


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


def torch_differences(n, d_u, compiled):
    import torch

    torch.set_num_threads(1)
    x, target = rows(n)
    policy = torch_network(torch, [2, 64, 64, d_u])
    optimizer = torch.optim.Adam(
        policy.parameters(), lr=RATE, betas=(0.9, 0.99), eps=1e-8, fused=True
    )
    x_device = torch.tensor(x)
    act = torch.compile(policy) if compiled else policy

    def step():
        u = act(x_device)
        gradient = differences(x, target, u.detach().numpy().astype(np.float64))
        optimizer.zero_grad(set_to_none=True)
        u.backward(torch.from_numpy(gradient.astype(np.float32)))
        optimizer.step()

    return step


def main():
    name, kind, *sizes = sys.argv[1:]
    sizes = [int(size) for size in sizes]
    library, _, variant = name.partition("-")
    make = globals()[f"{library}_{kind}"]
    # JAX is always compiled: only its joint step comes in two kinds.
    step = make(*sizes) if library == "jax" and kind != "joint" else make(*sizes, variant != "")
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
