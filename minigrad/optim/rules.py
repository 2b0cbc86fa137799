"""Update rules: plain functions on arrays.

Each writes into the parameter `p` and into what it remembers; `t` counts the steps. The order of
operations is part of a rule: 0.001 * g * g is finite where g * g is not.
"""
import numpy as np


def decayed(g, p, weight_decay):
    """Return g + weight_decay * p; without decay g, even if p is infinite."""
    return g + weight_decay * p if weight_decay else g


def sgd(p, g, velocity, t, *,
        learning_rate, momentum, dampening, nesterov, weight_decay):
    r"""Take one step of gradient descent with momentum, in place.

    .. math:: g' = g + \lambda p, \quad v \leftarrow \mu v + (1 - d) g', \quad
              p \leftarrow p - \eta \, (g' + \mu v \text{ if nesterov else } v)

    The first step is not dampened: there is no older velocity that g' would be averaged with.

    References
    ----------
    Sutskever et al. 2013, Proceedings of ICML, in the form of torch: the rate scales v when it is
    used and not when it is collected.
    """
    t += 1
    g = decayed(g, p, weight_decay)
    velocity *= momentum
    velocity += (1 - dampening) * g if t > 1 else g
    step = g + momentum * velocity if nesterov else velocity
    p -= learning_rate * step


def adamw(p, g, m, v, t, *,
          learning_rate, betas, eps, weight_decay):
    r"""Take one step of Adam with decoupled weight decay, in place.

    .. math:: m \leftarrow \beta_1 m + (1 - \beta_1) g, \quad
              v \leftarrow \beta_2 v + (1 - \beta_2) g^2

    .. math:: p \leftarrow p - \eta \lambda p - \eta \, \hat m / (\sqrt{\hat v} + \epsilon),
              \quad \hat m = m / (1 - \beta_1^t), \quad \hat v = v / (1 - \beta_2^t)

    The division by 1 - beta**t undoes that m and v started at zero.

    References
    ----------
    Loshchilov & Hutter 2019, arXiv:1711.05101, algorithm 2 (the decay is scaled by the learning
    rate, as in torch); Kingma & Ba 2015, arXiv:1412.6980.
    """
    beta1, beta2 = betas
    t += 1
    m *= beta1
    m += (1 - beta1) * g
    v *= beta2
    v += (1 - beta2) * g * g
    p *= 1 - learning_rate * weight_decay
    rate = learning_rate / (1 - beta1 ** int(t))                          # of m, not m hat
    root = np.sqrt(v) / (1 - beta2 ** int(t)) ** 0.5                      # of v hat
    p -= rate * m / (root + eps)


def adam(p, g, m, v, t, *,
         learning_rate, betas, eps, weight_decay):
    r"""Take one step of Adam, in place, with the decay in the gradient.

    As `adamw` without decay, on :math:`g' = g + \lambda p`, the gradient of the loss and of
    :math:`\lambda/2 \, \|p\|^2` (L2). So what decays is divided by the root of v, too.

    References
    ----------
    Kingma & Ba 2015, arXiv:1412.6980, algorithm 1.
    """
    g = decayed(g, p, weight_decay)
    adamw(p, g, m, v, t,
          learning_rate=learning_rate, betas=betas, eps=eps, weight_decay=0.0)


def adagrad(p, g, total, t, *,
            learning_rate, rate_decay, eps, weight_decay):
    r"""Take one step of Adagrad, in place.

    .. math:: g' = g + \lambda p, \quad s \leftarrow s + g'^2, \quad
              p \leftarrow p - \frac{\eta}{1 + (t - 1) \delta} \, g' / (\sqrt s + \epsilon)

    Seldom features keep large steps: each parameter is divided by the root of all it has seen.

    References
    ----------
    Duchi et al. 2011, JMLR 12, with torch's decay of the rate.
    """
    t += 1
    g = decayed(g, p, weight_decay)
    total += g * g
    rate = learning_rate / (1 + (int(t) - 1) * rate_decay)
    p -= rate * g / (np.sqrt(total) + eps)


def rmsprop(p, g, v, mean, velocity, *,
            learning_rate, beta, eps, momentum, centered, weight_decay):
    r"""Take one step of RMSprop, in place.

    .. math:: g' = g + \lambda p, \quad v \leftarrow \beta v + (1 - \beta) g'^2, \quad
              m \leftarrow \beta m + (1 - \beta) g'

    .. math:: u \leftarrow \mu u + g' / (\sqrt{v - m^2 \text{ if centered else } v} + \epsilon),
              \quad p \leftarrow p - \eta u

    Centered, the root is of the variance of the gradient and not of its mean square.

    References
    ----------
    Tieleman & Hinton 2012, Neural networks for machine learning, lecture 6.5; Graves 2013,
    arXiv:1308.0850, equations 38 to 45, in the form of torch: without bias correction, and with
    eps beside the root.
    """
    g = decayed(g, p, weight_decay)
    v *= beta
    v += (1 - beta) * g * g
    root = np.sqrt(v)
    if centered:
        mean *= beta
        mean += (1 - beta) * g
        below = np.maximum(root - abs(mean), 0)           # or, rounded, less than 0
        root = np.sqrt(below * (root + abs(mean)))        # of v - mean**2, which may be inf - inf
    velocity *= momentum
    velocity += g / (root + eps)
    p -= learning_rate * velocity
