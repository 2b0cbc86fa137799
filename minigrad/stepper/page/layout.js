"use strict";
// Which boxes are visible, and where they go: layers from the inputs down to the loss, found by
// longest path, ordered by barycenters, placed by least squares so that no two boxes overlap.

const BOX = {width: 148, height: 56, gapX: 18, gapY: 44, bend: 10};

function pathsOf(group) {
  return group.map((_, i) => group.slice(0, i + 1).join(" / "));
}

function visibleGraph(record, collapsed) {
  const boxes = new Map(), edges = new Map(), boxOf = [];
  record.nodes.forEach((node, id) => {
    const hidden = pathsOf(node.group).find(path => collapsed.has(path));
    const key = hidden === undefined ? `n${id}` : `m${hidden}`;
    boxOf.push(key);
    if (!boxes.has(key)) boxes.set(key, {key, module: hidden, nodes: [], ins: [], outs: []});
    boxes.get(key).nodes.push(id);
  });
  record.nodes.forEach((node, id) => {
    for (const from of node.refs) {
      const a = boxOf[from], b = boxOf[id], key = `${a}>${b}`;
      if (a === b || edges.has(key)) continue;
      edges.set(key, {key, from: a, to: b});
      boxes.get(a).outs.push(b);
      boxes.get(b).ins.push(a);
    }
  });
  return {boxes, edges, boxOf};
}

function assignLayers(boxes) {
  const left = new Map(), ready = [];
  for (const box of boxes.values()) {
    left.set(box.key, box.ins.length);
    box.layer = 0;
    if (!box.ins.length) ready.push(box);
  }
  for (let i = 0; i < ready.length; i++) {
    for (const key of ready[i].outs) {
      const user = boxes.get(key);
      user.layer = Math.max(user.layer, ready[i].layer + 1);
      left.set(key, left.get(key) - 1);
      if (!left.get(key)) ready.push(user);
    }
  }
  for (const box of boxes.values()) {           // a leaf stands right above its first user
    if (!box.ins.length && box.outs.length) {
      box.layer = Math.min(...box.outs.map(key => boxes.get(key).layer)) - 1;
    }
  }
}

function makeLayers(graph) {
  const layers = [];
  const put = item => (layers[item.layer] ||= []).push(item);
  for (const box of graph.boxes.values()) {
    box.up = [];
    box.down = [];
    box.width = BOX.width;
    put(box);
  }
  for (const edge of graph.edges.values()) {    // a long edge bends at a small item in each layer
    const to = graph.boxes.get(edge.to);
    let above = graph.boxes.get(edge.from);
    edge.bends = [];
    for (let layer = above.layer + 1; layer < to.layer; layer++) {
      const bend = {layer, up: [above], down: [], width: BOX.bend};
      above.down.push(bend);
      edge.bends.push(bend);
      put(bend);
      above = bend;
    }
    above.down.push(to);
    to.up.push(above);
  }
  for (let i = 0; i < layers.length; i++) layers[i] ||= [];
  return layers;
}

const mean = (items, of) => items.reduce((sum, item) => sum + of(item), 0) / items.length;

function orderLayers(layers) {
  const number = layer => layer.forEach((item, i) => { item.order = i; });
  layers.forEach(number);
  for (let sweep = 0; sweep < 12; sweep++) {
    const down = sweep % 2 === 0;
    for (const layer of down ? layers : [...layers].reverse()) {
      for (const item of layer) {
        const near = down ? item.up : item.down;
        item.want = near.length ? mean(near, other => other.order) : item.order;
      }
      layer.sort((a, b) => a.want - b.want || a.order - b.order);
      number(layer);
    }
  }
}

// Least squares: as near to `want` as possible, in order, at least a gap apart (pool adjacent
// violators on the positions less the widths before them).
function placeLayer(layer) {
  const blocks = [];
  let offset = 0;
  layer.forEach((item, i) => {
    if (i) offset += (layer[i - 1].width + item.width) / 2 + BOX.gapX;
    item.offset = offset;
    blocks.push({sum: item.want - offset, n: 1});
    while (blocks.length > 1) {
      const last = blocks[blocks.length - 1], before = blocks[blocks.length - 2];
      if (before.sum / before.n <= last.sum / last.n) break;
      blocks.splice(-2, 2, {sum: before.sum + last.sum, n: before.n + last.n});
    }
  });
  let i = 0;
  for (const block of blocks) {
    for (let k = 0; k < block.n; k++, i++) layer[i].x = block.sum / block.n + layer[i].offset;
  }
}

function layOut(record, collapsed) {
  const graph = visibleGraph(record, collapsed);
  assignLayers(graph.boxes);
  const layers = makeLayers(graph);
  orderLayers(layers);
  for (const layer of layers) {
    layer.forEach((item, i) => { item.want = i * (BOX.width + BOX.gapX); });
    placeLayer(layer);
  }
  for (let sweep = 0; sweep < 16; sweep++) {
    const down = sweep % 2 === 0;
    for (const layer of down ? layers : [...layers].reverse()) {
      for (const item of layer) {
        const near = sweep > 11 ? [...item.up, ...item.down] : down ? item.up : item.down;
        item.want = near.length ? mean(near, other => other.x) : item.x;
      }
      placeLayer(layer);
    }
  }
  const items = layers.flat();
  const left = Math.min(...items.map(item => item.x - item.width / 2));
  for (const item of items) {
    item.x += 16 - left;
    item.y = 16 + BOX.height / 2 + item.layer * (BOX.height + BOX.gapY);
  }
  graph.width = Math.max(...items.map(item => item.x + item.width / 2)) + 16;
  graph.height = 32 + layers.length * (BOX.height + BOX.gapY) - BOX.gapY;
  return graph;
}

function edgePath(graph, edge) {
  const from = graph.boxes.get(edge.from), to = graph.boxes.get(edge.to);
  const half = BOX.height / 2;
  const points = [[from.x, from.y + half]];
  for (const bend of edge.bends) points.push([bend.x, bend.y - half], [bend.x, bend.y + half]);
  points.push([to.x, to.y - half]);
  let path = `M${points[0].map(v => v.toFixed(1))}`;
  for (let i = 1; i < points.length; i++) {
    const [x0, y0] = points[i - 1], [x1, y1] = points[i], middle = (y0 + y1) / 2;
    path += x0 === x1 ? `L${x1.toFixed(1)},${y1}`
      : `C${x0.toFixed(1)},${middle} ${x1.toFixed(1)},${middle} ${x1.toFixed(1)},${y1}`;
  }
  return path;
}
