"use strict";
// Which boxes are visible and where they stand. Two pictures come with the record: all modules
// open, all closed. What lies between is the open one, folded.

const pathsOf = group => group.map((_, i) => group.slice(0, i + 1).join(" / "));

const allPaths = on => new Set(on ? record().nodes.flatMap(node => pathsOf(node.group)) : []);

function pictureOf(rec, collapsed) {
  if (!collapsed.size) return linked(rec.open);
  const outer = rec.nodes.flatMap(node => node.group.slice(0, 1));
  if (outer.every(path => collapsed.has(path))) return linked(rec.closed);
  return folded(rec, collapsed);
}

// A picture with its lines tied to its boxes, and the box of each node.
function linked({width, height, boxes, lines}) {
  boxes = boxes.map(box => ({...box}));
  const boxOf = [];
  for (const box of boxes) for (const i of box.nodes) boxOf[i] = box;
  return {width, height, boxes, boxOf,
          lines: lines.map(({from, to, bends}) => ({from: boxes[from], to: boxes[to], bends}))};
}

// A closed module stands where the last of its nodes stood; rows and columns that have become
// empty close up. Order and gaps stay, so that boxes do not come to lie on one another.
function folded(rec, collapsed) {
  const open = linked(rec.open), boxes = new Map(), lines = new Map();
  const boxOf = rec.nodes.map((node, i) => {
    const module = pathsOf(node.group).find(path => collapsed.has(path)) ?? null;
    const key = module ?? i, {x, y} = open.boxOf[i];
    const box = boxes.get(key) || {module, nodes: []};
    box.nodes.push(i);
    boxes.set(key, Object.assign(box, {x, y}));
    return box;
  });
  const graph = {boxOf, boxes: [...boxes.values()]};
  const rows = new Set(graph.boxes.map(box => box.y));
  for (const line of open.lines) {
    const from = boxOf[line.from.nodes[0]], to = boxOf[line.to.nodes[0]];
    const key = `${graph.boxes.indexOf(from)}>${graph.boxes.indexOf(to)}`;
    if (from === to || lines.has(key)) continue;
    const passes = bend => rows.has(bend.y) && bend.y > from.y && bend.y < to.y;
    lines.set(key, {from, to, bends: line.bends.filter(passes).map(bend => ({...bend}))});
  }
  graph.lines = [...lines.values()];
  return closeUp(graph);
}

function closeUp(graph) {
  const {width, height, gapX, gapY, bend: narrow, margin} = data.box;
  const bends = graph.lines.flatMap(line => line.bends);
  const items = [...graph.boxes.map(item => ({item, half: width / 2})),
                 ...bends.map(item => ({item, half: narrow / 2}))];
  const rows = [...new Set(graph.boxes.map(box => box.y))].sort((a, b) => a - b);
  items.sort((a, b) => (a.item.x - a.half) - (b.item.x - b.half));
  let right = margin - gapX, shift = 0;
  for (const {item, half} of items) {
    shift += Math.max(0, item.x - half - gapX - right);
    right = Math.max(right, item.x + half);
    item.x -= shift;
    item.y = margin + height / 2 + rows.indexOf(item.y) * (height + gapY);
  }
  graph.width = right - shift + margin;
  graph.height = 2 * margin + rows.length * (height + gapY) - gapY;
  return graph;
}

function linePath({from, to, bends}) {
  const half = data.box.height / 2, points = [[from.x, from.y + half]];
  for (const {x, y} of bends) points.push([x, y - half], [x, y + half]);
  points.push([to.x, to.y - half]);
  let path = `M${points[0].map(v => v.toFixed(1))}`;
  for (let i = 1; i < points.length; i++) {
    const [x0, y0] = points[i - 1], [x1, y1] = points[i], middle = (y0 + y1) / 2;
    path += x0 === x1 ? `L${x1.toFixed(1)},${y1}`
      : `C${x0.toFixed(1)},${middle} ${x1.toFixed(1)},${middle} ${x1.toFixed(1)},${y1}`;
  }
  return path;
}
