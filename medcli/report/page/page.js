"use strict";
// Copy buttons, before/after sliders, and interactive point clouds. Without JavaScript the page still shows everything:
// both images side by side, and a static image of the points.

// A link to a collapsed section opens it; what is printed is open.
const openAround = (name) => {
  for (let node = name && document.getElementById(name); node; node = node.parentElement) {
    if (node.tagName === "DETAILS") node.open = true;
  }
};
for (const link of document.querySelectorAll("nav a")) {
  link.addEventListener("click", () => openAround(decodeURIComponent(link.hash.slice(1))));
}
const narrow = matchMedia("(max-width: 40rem)"); // on a phone the contents would fill the first screen
const contents = document.querySelector("nav details");
const foldContents = () => { contents.open = !narrow.matches; };
narrow.addEventListener("change", foldContents);
foldContents();
openAround(decodeURIComponent(location.hash.slice(1)));
addEventListener("beforeprint", () => { for (const one of document.querySelectorAll(".whole")) one.open = true; });

for (const box of document.querySelectorAll(".command")) {
  const text = box.querySelector("pre");
  const shell = document.createElement("div");
  const button = document.createElement("button");
  shell.className = "shell";
  text.replaceWith(shell);
  shell.append(text, button);
  text.classList.add("with-button");
  button.type = "button";
  button.textContent = "Copy";
  button.setAttribute("aria-label", "Copy the command");
  button.addEventListener("click", async () => {
    const selection = getSelection();
    selection.selectAllChildren(text);
    try {
      await navigator.clipboard.writeText(text.textContent);
      selection.removeAllRanges();
      button.textContent = "Copied";
    } catch {
      button.textContent = "Selected";
    }
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  });
}

for (const figure of document.querySelectorAll(".compare")) {
  const stage = figure.querySelector(".stage");
  const label = figure.querySelector("label");
  const slider = figure.querySelector("input");
  const show = () => {
    stage.style.setProperty("--at", slider.value + "%");
    slider.setAttribute("aria-valuetext", slider.value + " %");
  };
  const follow = (event) => {
    const place = stage.getBoundingClientRect();
    slider.value = Math.round(100 * (event.clientX - place.left) / place.width);
    show();
  };
  stage.addEventListener("pointerdown", (event) => {
    stage.setPointerCapture(event.pointerId);
    follow(event);
  });
  stage.addEventListener("pointermove", (event) => { if (stage.hasPointerCapture(event.pointerId)) follow(event); });
  stage.addEventListener("dragstart", (event) => event.preventDefault());
  slider.addEventListener("input", show);
  label.hidden = false;
  figure.classList.add("ready");
  show();
}

const unpack = (text, Kind) => {
  const raw = atob(text);
  const bytes = new Uint8Array(raw.length);
  for (let i = 0; i < raw.length; i++) bytes[i] = raw.charCodeAt(i);
  return new Kind(bytes.buffer);
};

const times = (a, b) => {
  const c = new Float64Array(9);
  for (let i = 0; i < 3; i++) for (let j = 0; j < 3; j++)
    c[3 * i + j] = a[3 * i] * b[j] + a[3 * i + 1] * b[3 + j] + a[3 * i + 2] * b[6 + j];
  return c;
};

const turned = (matrix, across, up) => {
  const [ca, sa, cu, su] = [Math.cos(across), Math.sin(across), Math.cos(up), Math.sin(up)];
  return times([1, 0, 0, 0, cu, -su, 0, su, cu], times([ca, 0, sa, 0, 1, 0, -sa, 0, ca], matrix));
};

const mix = (colours, share) => {
  const at = Math.min(Math.max(share, 0), 1) * (colours.length - 1);
  const first = Math.min(Math.floor(at), colours.length - 2);
  return [0, 1, 2].map((i) => colours[first][i] + (at - first) * (colours[first + 1][i] - colours[first][i]));
};

const rgb = (text) => [1, 3, 5].map((i) => parseInt(text.slice(i, i + 2), 16));
const variable = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

class View {
  constructor(figure) {
    this.canvas = figure.querySelector("canvas");
    this.names = ["x", "y", "z"];
    this.toggle = ["CT bone", "Show the CT bone"];
    this.waiting = false;
    this.read(figure.dataset);
    this.reset();
    this.listen();
    this.addButtons(figure.querySelector(".tools"));
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.ask());
    if (typeof ResizeObserver === "function") new ResizeObserver(() => this.ask()).observe(this.canvas);
  }

  read(given) {
    const [low, size] = [JSON.parse(given.low), JSON.parse(given.size)];
    const middle = low.map((value, i) => value + size[i] / 2);
    const place = (packed) => Float64Array.from(packed, (value, i) => value / 65535 * size[i % 3] + low[i % 3] - middle[i % 3]);
    this.points = place(unpack(given.points, Uint16Array));
    this.values = unpack(given.values, Uint8Array);
    this.vertices = place(unpack(given.vertices, Uint16Array));
    this.faces = unpack(given.faces, Uint16Array);
    this.normals = this.vertexNormals();
    this.first = JSON.parse(given.view);
    const stops = JSON.parse(given.palette).map(rgb);
    this.palette = Array.from({ length: 256 }, (_, i) => mix(stops, i / 255));
    this.radius = Math.hypot(...size) / 2;
    this.bone = this.faces.length > 0;
  }

  reset() {
    this.matrix = turned(Float64Array.from(this.first), 0, 0);
    this.zoom = 1;
    this.fit();
    this.ask();
  }

  // The first view fills the canvas; later views keep its scale, so that rotation does not change sizes.
  fit() {
    const m = this.matrix;
    let [wide, tall] = [1e-6, 1e-6];
    for (const set of [this.points, this.vertices])
      for (let i = 0; i < set.length; i += 3) {
        wide = Math.max(wide, Math.abs(m[0] * set[i] + m[1] * set[i + 1] + m[2] * set[i + 2]));
        tall = Math.max(tall, Math.abs(m[3] * set[i] + m[4] * set[i + 1] + m[5] * set[i + 2]));
      }
    this.half = Math.max(wide, tall * 1.6) * 1.08;
  }

  // Area-weighted mean of the normals of the faces around a vertex.
  vertexNormals() {
    const [v, f] = [this.vertices, this.faces];
    const normals = new Float64Array(v.length);
    for (let i = 0; i < f.length; i += 3) {
      const [a, b, c] = [3 * f[i], 3 * f[i + 1], 3 * f[i + 2]];
      const [ux, uy, uz] = [v[b] - v[a], v[b + 1] - v[a + 1], v[b + 2] - v[a + 2]];
      const [wx, wy, wz] = [v[c] - v[a], v[c + 1] - v[a + 1], v[c + 2] - v[a + 2]];
      const n = [uy * wz - uz * wy, uz * wx - ux * wz, ux * wy - uy * wx];
      for (const corner of [a, b, c]) for (let k = 0; k < 3; k++) normals[corner + k] += n[k];
    }
    for (let i = 0; i < normals.length; i += 3) {
      const length = Math.hypot(normals[i], normals[i + 1], normals[i + 2]) || 1;
      for (let k = 0; k < 3; k++) normals[i + k] /= length;
    }
    return normals;
  }

  // Light from the upper left, two-sided because a mesh may be open.
  light() {
    const [m, n] = [this.matrix, this.normals];
    const [x, y, z] = [0, 1, 2].map((k) => -0.35 * m[k] + 0.45 * m[3 + k] + 0.82 * m[6 + k]);
    const light = new Float32Array(n.length / 3);
    for (let i = 0; i < light.length; i++) {
      light[i] = 0.38 + 0.62 * Math.abs(x * n[3 * i] + y * n[3 * i + 1] + z * n[3 * i + 2]);
    }
    return light;
  }

  listen() {
    const canvas = this.canvas;
    let last = null;
    canvas.addEventListener("pointerdown", (event) => { last = event; canvas.setPointerCapture(event.pointerId); });
    canvas.addEventListener("pointerup", () => { last = null; });
    canvas.addEventListener("pointercancel", () => { last = null; });
    canvas.addEventListener("pointermove", (event) => {
      if (!last) return;
      const upright = event.pointerType === "touch" ? 0 : event.clientY - last.clientY;
      this.turn((event.clientX - last.clientX) * 0.009, upright * 0.009);
      last = event;
    });
    const step = Math.PI / 24;
    const keys = {
      ...this.moreKeys(),
      ArrowLeft: () => this.turn(-step, 0), ArrowRight: () => this.turn(step, 0),
      ArrowUp: () => this.turn(0, -step), ArrowDown: () => this.turn(0, step),
      "+": () => this.enlarge(1.2), "=": () => this.enlarge(1.2), "-": () => this.enlarge(1 / 1.2),
      Home: () => this.reset(),
    };
    canvas.addEventListener("keydown", (event) => {
      if (!keys[event.key] || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      keys[event.key]();
    });
  }

  moreKeys() { return {}; }

  addButtons(tools) {
    const add = (text, label, action) => {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = text;
      if (label) button.setAttribute("aria-label", label);
      button.addEventListener("click", () => action(button));
      tools.append(button);
      return button;
    };
    const spacer = document.createElement("span");
    spacer.className = "spacer";
    tools.append(spacer);
    this.addMore(add);
    add("↑", "Rotate up", () => this.turn(0, -Math.PI / 12));
    add("↓", "Rotate down", () => this.turn(0, Math.PI / 12));
    add("−", "Zoom out", () => this.enlarge(1 / 1.25));
    add("+", "Zoom in", () => this.enlarge(1.25));
    add("Reset", "Reset the view", () => this.reset());
  }

  addMore(add) {
    if (!this.faces.length) return;
    add("CT bone", "Show the CT bone", (button) => {
      this.bone = !this.bone;
      button.setAttribute("aria-pressed", this.bone);
      this.ask();
    }).setAttribute("aria-pressed", "true");
  }

  // The colour of a face by its place in the list.
  colours() {
    const mesh = rgb(variable("--mesh"));
    return () => mesh;
  }

  turn(across, up) { this.matrix = turned(this.matrix, across, up); this.ask(); }

  enlarge(factor) { this.zoom = Math.min(Math.max(this.zoom * factor, 0.4), 12); this.ask(); }

  ask() {
    if (this.waiting) return;
    this.waiting = true;
    requestAnimationFrame(() => { this.waiting = false; this.draw(); });
  }

  // Everything is drawn into one image with a depth buffer, so that the bone hides what is behind it.
  draw() {
    const canvas = this.canvas;
    const dense = Math.min(devicePixelRatio || 1, 2);
    const width = Math.max(1, Math.round((canvas.clientWidth || 960) * dense));
    const height = Math.max(1, Math.round(width / 1.6));
    if (canvas.width !== width || canvas.height !== height) { canvas.width = width; canvas.height = height; }
    const context = canvas.getContext("2d");
    const image = context.createImageData(width, height);
    const pixels = new Uint32Array(image.data.buffer);
    const depth = new Float32Array(width * height).fill(-Infinity);
    const scale = width / (2 * this.half) * this.zoom;
    const target = { width, height, pixels, depth, scale };
    if (this.bone) this.drawFaces(target);
    this.drawPoints(target, Math.max(2, Math.round(2.2 * dense * Math.sqrt(this.zoom))));
    context.putImageData(image, 0, 0);
    this.drawAxes(context, width, height, dense);
  }

  project(set, { width, height, scale }) {
    const m = this.matrix;
    const out = new Float32Array(set.length);
    for (let i = 0; i < set.length; i += 3) {
      const [x, y, z] = [set[i], set[i + 1], set[i + 2]];
      out[i] = width / 2 + scale * (m[0] * x + m[1] * y + m[2] * z);
      out[i + 1] = height / 2 - scale * (m[3] * x + m[4] * y + m[5] * z);
      out[i + 2] = m[6] * x + m[7] * y + m[8] * z;
    }
    return out;
  }

  drawFaces(target) {
    const { width, height, pixels, depth } = target;
    const at = this.project(this.vertices, target);
    const [f, light, colourOf] = [this.faces, this.light(), this.colours()];
    for (let i = 0; i < f.length; i += 3) {
      const [a, b, c] = [3 * f[i], 3 * f[i + 1], 3 * f[i + 2]];
      const area = (at[b] - at[a]) * (at[c + 1] - at[a + 1]) - (at[c] - at[a]) * (at[b + 1] - at[a + 1]);
      if (Math.abs(area) < 1e-9) continue;
      const base = colourOf(i);
      const la = light[f[i]], lb = light[f[i + 1]], lc = light[f[i + 2]];
      const left = Math.max(0, Math.floor(Math.min(at[a], at[b], at[c])));
      const right = Math.min(width - 1, Math.ceil(Math.max(at[a], at[b], at[c])));
      const top = Math.max(0, Math.floor(Math.min(at[a + 1], at[b + 1], at[c + 1])));
      const bottom = Math.min(height - 1, Math.ceil(Math.max(at[a + 1], at[b + 1], at[c + 1])));
      for (let y = top; y <= bottom; y++) for (let x = left; x <= right; x++) {
        const px = x + 0.5, py = y + 0.5;
        const u = ((at[b] - px) * (at[c + 1] - py) - (at[c] - px) * (at[b + 1] - py)) / area;
        const v = ((at[c] - px) * (at[a + 1] - py) - (at[a] - px) * (at[c + 1] - py)) / area;
        if (u < 0 || v < 0 || u + v > 1) continue;
        const z = u * at[a + 2] + v * at[b + 2] + (1 - u - v) * at[c + 2];
        const k = y * width + x;
        if (z <= depth[k]) continue;
        depth[k] = z;
        const l = u * la + v * lb + (1 - u - v) * lc;
        pixels[k] = 0xff000000 | base[2] * l << 16 | base[1] * l << 8 | base[0] * l;
      }
    }
  }

  drawPoints(target, side) {
    const { width, height, pixels, depth } = target;
    const at = this.project(this.points, target);
    const nearer = 0.006 * this.radius; // points lie on the bone; drawn slightly nearer, they stay visible
    for (let i = 0; i < at.length; i += 3) {
      const [left, top, z] = [Math.round(at[i] - side / 2), Math.round(at[i + 1] - side / 2), at[i + 2] + nearer];
      const [r, g, b] = this.palette[this.values[i / 3]];
      const colour = 0xff000000 | b << 16 | g << 8 | r;
      for (let y = Math.max(0, top); y < Math.min(height, top + side); y++)
        for (let x = Math.max(0, left); x < Math.min(width, left + side); x++) {
          const k = y * width + x;
          if (z > depth[k]) { depth[k] = z; pixels[k] = colour; }
        }
    }
  }

  drawAxes(context, width, height, dense) {
    const length = Math.min(26 * dense, width / 20);
    const [x0, y0] = [1.6 * length, height - 1.6 * length];
    context.lineWidth = 1.5 * dense;
    context.strokeStyle = context.fillStyle = variable("--soft");
    context.font = `${12 * dense}px system-ui, sans-serif`;
    context.textAlign = "center";
    context.textBaseline = "middle";
    for (let axis = 0; axis < 3; axis++) {
      const [dx, dy] = [this.matrix[axis] * length, -this.matrix[3 + axis] * length];
      context.beginPath();
      context.moveTo(x0, y0);
      context.lineTo(x0 + dx, y0 + dy);
      context.stroke();
      if (Math.hypot(dx, dy) > 6 * dense) context.fillText(this.names[axis], x0 + dx * 1.38, y0 + dy * 1.38);
    }
  }
}

// Rigid bodies over time. The last one can be held still, so that the others are seen to move against it.
class Motion extends View {
  constructor(figure) {
    super(figure);
    const label = figure.querySelector("label");
    [this.slider, this.words] = [label.querySelector("input"), label.querySelector("output")];
    this.slider.addEventListener("input", () => this.go(+this.slider.value));
    label.hidden = false;
    this.go(this.frame);
  }

  read(given) {
    this.bodies = JSON.parse(given.bodies);
    this.labels = JSON.parse(given.labels);
    this.names = JSON.parse(given.names);
    this.first = JSON.parse(given.view);
    this.pointColours = JSON.parse(given.colours);
    this.palette = this.pointColours.map(() => [0, 0, 0]);
    this.faces = unpack(given.faces, Uint16Array);
    this.poses = unpack(given.poses, Float32Array);
    this.marks = unpack(given.points, Float32Array);
    const packed = unpack(given.vertices, Uint16Array);
    this.own = new Float64Array(packed.length);
    this.starts = [0];
    for (const { count, low, size } of this.bodies) {
      const start = this.starts[this.starts.length - 1];
      for (let i = 3 * start; i < 3 * (start + count); i++) this.own[i] = packed[i] / 65535 * size[i % 3] + low[i % 3];
      this.starts.push(start + count);
    }
    this.vertices = this.own;
    this.ownNormals = this.vertexNormals();
    this.values = Uint8Array.from(this.palette, (_, i) => i);
    [this.bone, this.held, this.frame, this.timer] = [true, true, 0, 0];
    this.radius = 60;
    this.place();
  }

  // Vertices, normals and marks of the frame, in the frame of the body that is held, or in the common one.
  place() {
    const count = this.bodies.length;
    const at = (body) => this.poses.subarray(12 * (this.frame * count + body), 12 * (this.frame * count + body + 1));
    const last = at(count - 1);
    const into = (m, v, o) => [0, 1, 2].map((r) => m[4 * r] * v[0] + m[4 * r + 1] * v[1] + m[4 * r + 2] * v[2] + o * m[4 * r + 3]);
    const back = (v, o) => {
      const d = [0, 1, 2].map((r) => v[r] - o * last[4 * r + 3]);
      return [0, 1, 2].map((c) => last[c] * d[0] + last[4 + c] * d[1] + last[8 + c] * d[2]);
    };
    const moved = (set, body, start, end, target, o) => {
      const m = at(body);
      for (let i = 3 * start; i < 3 * end; i += 3) {
        const there = into(m, [set[i], set[i + 1], set[i + 2]], o);
        target.set(this.held ? back(there, o) : there, i);
      }
    };
    const vertices = new Float64Array(this.own.length), normals = new Float64Array(this.own.length);
    for (let body = 0; body < count; body++) {
      moved(this.own, body, this.starts[body], this.starts[body + 1], vertices, 1);
      moved(this.ownNormals, body, this.starts[body], this.starts[body + 1], normals, 0);
    }
    [this.vertices, this.normals] = [vertices, normals];
    const marks = this.palette.length;
    this.points = new Float64Array(3 * marks);
    for (let i = 0; i < marks; i++) {
      const mark = this.marks.subarray(3 * (this.frame * marks + i), 3 * (this.frame * marks + i + 1));
      this.points.set(this.held ? mark : into(last, mark, 1), 3 * i);
    }
  }

  reset() {
    const [frame, held] = [this.frame, this.held];
    [this.frame, this.held] = [0, true];
    this.place();
    super.reset();
    [this.frame, this.held] = [frame, held];
    this.place();
  }

  go(frame) {
    this.frame = (frame + this.labels.length) % this.labels.length;
    this.slider.value = this.frame;
    this.words.textContent = this.labels[this.frame];
    this.slider.setAttribute("aria-valuetext", this.labels[this.frame]);
    this.place();
    this.ask();
  }

  play() {
    clearInterval(this.timer);
    this.timer = this.timer ? 0 : setInterval(() => this.go(this.frame + 1), 60);
    this.button.textContent = this.timer ? "Pause" : "Play";
  }

  moreKeys() {
    return { ",": () => this.go(this.frame - 1), ".": () => this.go(this.frame + 1), " ": () => this.play() };
  }

  addMore(add) {
    this.button = add("Play", "", () => this.play());
    const last = this.bodies[this.bodies.length - 1].name;
    add(`Hold ${last}`, `Hold the ${last} still`, (button) => {
      this.held = !this.held;
      button.setAttribute("aria-pressed", this.held);
      this.place();
      this.ask();
    }).setAttribute("aria-pressed", "true");
  }

  // Low points lie between the components, so they are drawn over them.
  drawPoints(target, side) {
    this.palette = this.pointColours.map((name) => rgb(variable(name)));
    super.drawPoints({ ...target, depth: new Float32Array(target.depth.length).fill(-Infinity) }, 4 * side);
  }

  colours() {
    const colours = this.bodies.map((body) => rgb(variable(body.colour)));
    const faces = this.faces;
    return (i) => colours[faces[i] < this.starts[1] ? 0 : 1];
  }
}

for (const figure of document.querySelectorAll(".cloud")) new (figure.classList.contains("motion") ? Motion : View)(figure);
