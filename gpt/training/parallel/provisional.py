def passes(pipeline, p, m, s):
    if pipeline == "gpipe":
        for i in range(m): yield "forward", i
        for i in range(m): yield "backward", i
        return
    warm = min(p - s - 1, m)
    f = b = w = 0
    for _ in range(warm):
        yield "forward", f; f += 1
    zb = pipeline == "zero_bubble"
    while b < m:
        if f < m:
            yield "forward", f; f += 1
        yield ("input_gradient" if zb else "backward"), b; b += 1
        if zb and b > s:
            yield "weight_gradient", w; w += 1
    while zb and w < m:
        yield "weight_gradient", w; w += 1
