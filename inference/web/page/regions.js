// Where scars are seen: outlined over the photo from the regions [3][h][w] of an answer.

const WIDTH = 512; // pixels of the painted map, which the page stretches over the photo
const FILL = 0.14; // opacity of the colour over a scar
const LINE = 3; // pixels of an outline; as much again in white lies around it
const DASHES = { ice_pick: 0, boxcar: 12, rolling: 4 }; // pixels; 0 is an unbroken line: types differ in grey too

/**
 * Outline the scars in a canvas; where none is seen it stays empty.
 *
 * With `only` null scars of all types, else those of the type of that index.
 */
export function paint(canvas, answer, types, only = null) {
  const height = Math.max(1, Math.round((WIDTH * answer.height) / answer.width));
  canvas.width = WIDTH;
  canvas.height = Math.min(height, 4 * WIDTH);
  const context = canvas.getContext("2d");
  const picture = context.createImageData(canvas.width, canvas.height);
  const colours = types.map((type) => [1, 3, 5].map((at) => parseInt(type.colour.slice(at, at + 2), 16)));
  const seen = typesSeen(answer, canvas.width, canvas.height).map((type) => (only === null || type === only ? type : -1));
  const inside = distances(seen, canvas.width, LINE);
  for (let at = 0; at < seen.length; at++) {
    if (seen[at] < 0) continue;
    const dash = DASHES[types[seen[at]].name];
    const along = (at % canvas.width) + Math.floor(at / canvas.width);
    const onLine = inside[at] <= LINE;
    const white = onLine && dash > 0 && Math.floor(along / dash) % 2 === 1;
    const colour = white ? [255, 255, 255] : colours[seen[at]];
    picture.data.set([...colour, Math.round(255 * (onLine ? 0.95 : FILL))], 4 * at);
  }
  context.putImageData(picture, 0, 0);
}

/** Return for each pixel the index of the type that is seen there, or -1. */
function typesSeen(answer, width, height) {
  const planes = answer.regions.map((plane) => enlarged(plane, width, height));
  return Int8Array.from(planes[0], (_, at) => {
    const values = planes.map((plane) => plane[at]);
    const total = values.reduce((sum, value) => sum + value, 0);
    return total < answer.scar_threshold ? -1 : values.indexOf(Math.max(...values));
  });
}

/** Return for each pixel how many pixels it lies from one of another type, counted up to `most` + 1. */
function distances(seen, width, most) {
  let left = Uint8Array.from(seen, () => most + 1);
  for (let step = 1; step <= most; step++) {
    left = left.map((distance, at) => {
      if (distance <= most) return distance;
      const around = [at % width === 0 ? at : at - 1, (at + 1) % width === 0 ? at : at + 1, at - width, at + width];
      return around.some((other) => other >= 0 && other < seen.length && (seen[other] !== seen[at] || left[other] < step)) ? step : distance;
    });
  }
  return left;
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
