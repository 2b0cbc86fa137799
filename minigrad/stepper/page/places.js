"use strict";
// Which boxes are visible and where they stand. The record brings pictures with some modules closed:
// the first is open, the second an overview. Any other is the open one, folded. With all open, blocks
// may stand beside each other.

const pathsOf = group => group.map((_, i) => group.slice(0, i + 1).join(" / "));

const overview = () => new Set(record().pictures.at(1)?.closed);

function pictureOf(rec, collapsed) {
  if (!collapsed.size && rec.beside) return linked(rec.beside);
  const same = ({closed}) => closed.length === collapsed.size && closed.every(path => collapsed.has(path));
  const found = rec.pictures.find(same);
  return found ? linked(found) : folded(rec, collapsed);
}

// A picture with its lines tied to its boxes, and the box of each node.
function linked({width, height, boxes, lines}) {
  boxes = boxes.map(box => ({...box}));
  const boxOf = [];
  for (const box of boxes) for (const i of box.nodes) boxOf[i] = box;
  return {width, height, boxes, boxOf,
          lines: lines.map(({ends: [i, j], ...line}) => ({...line, from: boxes[i], to: boxes[j]}))};
}

// A closed module stands where the last of its nodes stood; rows and columns that have become
// empty close up. Order and gaps stay, so that boxes do not come to lie on one another.
function folded(rec, collapsed) {
  const open = linked(rec.pictures[0]), boxes = new Map(), lines = new Map();
  const boxOf = rec.nodes.map((node, i) => {
    const module = pathsOf(node.group).find(path => collapsed.has(path)) ?? null;
    const key = module ?? node.maker, {x, y} = open.boxOf[i];
    const box = boxes.get(key) || {module, nodes: []};
    box.nodes.push(i);
    boxes.set(key, Object.assign(box, {x, y}));
    return box;
  });
  const graph = {boxOf, boxes: [...boxes.values()]};
  const rows = new Set(graph.boxes.map(box => box.y));
  for (const line of open.lines) {
    const from = boxOf[line.from.nodes[0]], to = boxOf[line.to.nodes[0]];
    const place = from.module === null && to.module === null ? line.place : null;
    const key = `${graph.boxes.indexOf(from)}>${graph.boxes.indexOf(to)}:${place}`;
    if (from === to || lines.has(key)) continue;
    const passes = bend => rows.has(bend.y) && bend.y > from.y && bend.y < to.y;
    lines.set(key, {from, to, place, port: line.port, bends: line.bends.filter(passes).map(bend => ({...bend}))});
  }
  graph.lines = [...lines.values()];
  return closeUp(graph);
}

function closeUp(graph) {
  const {WIDTH, HEIGHT, GAP_X, GAP_Y, BEND, MARGIN, SIDE} = data.box;
  const bends = graph.lines.flatMap(line => line.bends);
  const items = [...graph.boxes.map(item => ({item, half: WIDTH / 2})),
                 ...bends.map(item => ({item, half: BEND / 2}))];
  const rows = [...new Set(graph.boxes.map(box => box.y))].sort((a, b) => a - b);
  items.sort((a, b) => (a.item.x - a.half) - (b.item.x - b.half));
  let right = SIDE - GAP_X, shift = 0;
  for (const {item, half} of items) {
    shift += Math.max(0, item.x - half - GAP_X - right);
    right = Math.max(right, item.x + half);
    item.x -= shift;
    item.y = MARGIN + HEIGHT / 2 + rows.indexOf(item.y) * (HEIGHT + GAP_Y);
  }
  graph.width = right - shift + SIDE;
  graph.height = 2 * MARGIN + rows.length * (HEIGHT + GAP_Y) - GAP_Y;
  return graph;
}

function pointsOf({from, to, bends, port}) {
  const half = data.box.HEIGHT / 2, points = [[from.x, from.y + half]];
  for (const {x, y} of bends) points.push([x, y - half], [x, y + half]);
  points.push([to.x + port, to.y - half]);
  return points;
}

function linePath(line) {
  const points = pointsOf(line);
  const turns = [...(line.turns || [])], far = data.box.TURN;
  let path = `M${points[0].map(v => v.toFixed(1))}`;
  for (let i = 1; i < points.length; i++) {
    const [x0, y0] = points[i - 1], [x1, y1] = points[i], middle = (y0 + y1) / 2;
    if (y1 < y0) {                                     // to the next column
      const [x] = turns.splice(0, 1);
      path += `C${x0.toFixed(1)},${y0 + far} ${x},${y0 + far} ${x},${y0}L${x},${y1}`
        + `C${x},${y1 - far} ${x1.toFixed(1)},${y1 - far} ${x1.toFixed(1)},${y1}`;
    } else path += x0 === x1 ? `L${x1.toFixed(1)},${y1}`
      : `C${x0.toFixed(1)},${middle} ${x1.toFixed(1)},${middle} ${x1.toFixed(1)},${y1}`;
  }
  return path;
}
