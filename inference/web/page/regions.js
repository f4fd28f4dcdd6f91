// Where each type is seen: painted over the photo from the regions [3][h][w] of an answer.

const WIDTH = 512; // pixels of the painted map, which the page stretches over the photo
const OPACITY = 0.6;
const CERTAIN = 0.12; // below this a place is left as it is: no type stands out

/**
 * Paint the regions into a canvas.
 *
 * With `only` null the type that stands out most, stronger the more it does, and a line where that changes; else how
 * strongly the one type of that index is seen.
 */
export function paint(canvas, answer, types, only = null) {
  const height = Math.max(1, Math.round((WIDTH * answer.height) / answer.width));
  canvas.width = WIDTH;
  canvas.height = Math.min(height, 4 * WIDTH);
  const context = canvas.getContext("2d");
  const picture = context.createImageData(canvas.width, canvas.height);
  const colours = types.map((type) => [1, 3, 5].map((at) => parseInt(type.colour.slice(at, at + 2), 16)));
  const seen = strongest(answer.regions, canvas.width, canvas.height, only);
  for (let at = 0; at < seen.type.length; at++) {
    const edge = only === null && isEdge(seen.type, at, canvas.width);
    const colour = edge ? [255, 255, 255] : seen.type[at] < 0 ? [0, 0, 0] : colours[seen.type[at]];
    const opacity = edge ? 0.9 : seen.type[at] < 0 ? 0 : OPACITY * Math.sqrt(seen.strength[at]);
    picture.data.set([...colour, Math.round(255 * opacity)], 4 * at);
  }
  context.putImageData(picture, 0, 0);
}

/** Return for each pixel the type that is shown there, or -1, and how strongly, 0 to 1. */
function strongest(regions, width, height, only) {
  const planes = regions.map((plane) => enlarged(plane, width, height));
  const type = new Int8Array(width * height);
  const strength = new Float32Array(width * height);
  const chance = 1 / planes.length;
  for (let at = 0; at < type.length; at++) {
    let best = only ?? 0;
    if (only === null) for (let other = 1; other < planes.length; other++) if (planes[other][at] > planes[best][at]) best = other;
    strength[at] = Math.min(1, Math.max(0, (planes[best][at] - chance) / (1 - chance)));
    type[at] = strength[at] < CERTAIN ? -1 : best;
  }
  return { type, strength };
}

function isEdge(type, at, width) {
  const right = (at + 1) % width === 0 ? at : at + 1;
  const below = at + width < type.length ? at + width : at;
  return type[at] !== type[right] || type[at] !== type[below];
}

/** Return a plane [h][w] interpolated linearly between the centres of its cells. */
function enlarged(plane, width, height) {
  const rows = places(height, plane.length);
  const columns = places(width, plane[0].length);
  const result = new Float32Array(width * height);
  rows.forEach(([above, below, down], y) => {
    columns.forEach(([left, right, across], x) => {
      const top = plane[above][left] * (1 - across) + plane[above][right] * across;
      const bottom = plane[below][left] * (1 - across) + plane[below][right] * across;
      result[y * width + x] = top * (1 - down) + bottom * down;
    });
  });
  return result;
}

/** Return for each of `count` pixels the two cells it lies between and its place between them. */
function places(count, cells) {
  return Array.from({ length: count }, (_, pixel) => {
    const place = Math.min(Math.max(((pixel + 0.5) * cells) / count - 0.5, 0), cells - 1);
    const first = Math.floor(place);
    return [first, Math.min(first + 1, cells - 1), place - first];
  });
}
