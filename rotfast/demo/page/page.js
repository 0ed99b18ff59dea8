// The page: a code, its sliders, the image decoded from it, and a drawing whose code it can take.

const byId = (id) => document.getElementById(id);
const drawing = byId("drawing");
const pen = drawing.getContext("2d", { willReadFrequently: true });
const SENT = 112; // side of the drawing that is sent, in pixels: 4 for each of MNIST's

let model = null;
let sliders = [];
let drawnCode = null;
let hasInk = false;
let last = [0, 0]; // where the pen is

// ---- talking to the server

async function ask(path, options) {
  let response;
  try {
    response = await fetch(path, options);
  } catch {
    throw new Error("The server does not answer. Is “rotfast demo” still running?");
  }
  const answer = await response.json().catch(() => ({}));
  if (!response.ok) throw new Error(answer.error ?? `The server answered ${response.status}.`);
  return answer;
}

function showError(error) {
  byId("error").textContent = error ? error.message : "";
  byId("error").hidden = !error;
}

// Runs one call at a time; of those that arrive meanwhile only the last one counts.
function latest(step) {
  let running = false;
  let waiting = false;
  return async () => {
    waiting = true;
    if (running) return;
    running = true;
    while (waiting) {
      waiting = false;
      try {
        await step();
        showError(null);
      } catch (error) {
        showError(error);
      }
    }
    running = false;
  };
}

function bytesOf(base64) {
  return Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
}

function paint(canvas, base64) {
  const bytes = bytesOf(base64);
  const size = Math.sqrt(bytes.length);
  canvas.width = canvas.height = size;
  const image = new ImageData(size, size);
  bytes.forEach((value, i) => image.data.set([value, value, value, 255], 4 * i));
  canvas.getContext("2d").putImageData(image, 0, 0);
}

// ---- the code and its sliders

function formatted(value, { step, unit }) {
  const text = value.toFixed(step < 1 ? 2 : 0).replace(/^-(?=[0.]*$)/, ""); // no minus before zero
  return text.replace("-", "−") + unit;
}

function addSlider(dimension, index) {
  const row = document.createElement("div");
  row.className = "slider";
  const id = `dimension-${index}`;
  row.innerHTML = `<label for="${id}"></label><output for="${id}"></output>
    <span class="track"><input type="range" id="${id}"><span class="mark" hidden></span></span>`;
  const [label, output, input, mark] = ["label", "output", "input", ".mark"].map((part) => row.querySelector(part));
  label.textContent = dimension.name;
  input.min = dimension.low;
  input.max = dimension.high;
  input.step = dimension.step;
  const slider = { dimension, input, output, mark, value: 0 };
  input.addEventListener("input", () => {
    setValue(slider, Number(input.value));
    decode();
  });
  input.addEventListener("dblclick", () => {
    setValue(slider, 0);
    decode();
  });
  byId("sliders").append(row);
  return slider;
}

// A code may lie beyond its slider's ends or between its steps: it is kept as it is.
function setValue(slider, value) {
  slider.value = value;
  slider.input.value = value;
  slider.output.textContent = formatted(value, slider.dimension);
  slider.input.setAttribute("aria-valuetext", slider.output.textContent);
}

function setCode(code) {
  sliders.forEach((slider, i) => setValue(slider, code[i]));
  decode();
}

function setMarks(code) {
  drawnCode = code;
  byId("back").disabled = code === null;
  sliders.forEach(({ dimension, mark }, i) => {
    mark.hidden = code === null;
    if (code === null) return;
    const place = (code[i] - dimension.low) / (dimension.high - dimension.low);
    const share = Math.min(Math.max(place, 0), 1);
    mark.style.left = `calc(.5rem + ${share} * (100% - 1rem))`; // half a thumb at either end
  });
}

const decode = latest(async () => {
  const body = JSON.stringify({ code: sliders.map(({ value }) => value) });
  const headers = { "content-type": "application/json" };
  const answer = await ask("api/decode", { method: "POST", headers, body });
  paint(byId("decoded"), answer.image);
});

// Sum of twelve uniform numbers: nearly normal, and the prior of every dimension without a unit.
const normal = () => Array.from({ length: 12 }, Math.random).reduce((sum, x) => sum + x, -6);
const drawn = ({ low, high, unit }) => (unit ? low + Math.random() * (high - low) : normal());

// ---- the drawing

function clearDrawing() {
  pen.fillStyle = "#000";
  pen.fillRect(0, 0, drawing.width, drawing.height);
  hasInk = false;
}

function pixels() {
  const small = document.createElement("canvas");
  small.width = small.height = SENT;
  const brush = small.getContext("2d", { willReadFrequently: true });
  brush.imageSmoothingQuality = "high";
  brush.drawImage(drawing, 0, 0, SENT, SENT);
  return brush.getImageData(0, 0, SENT, SENT).data.filter((_, i) => i % 4 === 0);
}

const encode = latest(async () => {
  if (!hasInk) {
    setMarks(null);
    byId("seen").getContext("2d").clearRect(0, 0, byId("seen").width, byId("seen").height);
    return;
  }
  const query = new URLSearchParams({ turn: byId("turn").value, centred: byId("centred").checked ? 1 : 0 });
  const headers = { "content-type": "application/octet-stream" };
  const answer = await ask(`api/encode?${query}`, { method: "POST", headers, body: pixels() });
  paint(byId("seen"), answer.image);
  setMarks(answer.code);
  setCode(answer.code);
});

function placeOf(event) {
  const box = drawing.getBoundingClientRect();
  const scale = drawing.width / box.width;
  return [(event.clientX - box.left) * scale, (event.clientY - box.top) * scale];
}

function drawTo(event) {
  const place = placeOf(event);
  pen.strokeStyle = pen.fillStyle = "#fff";
  pen.lineWidth = drawing.width / 12;
  pen.beginPath();
  pen.moveTo(...last);
  pen.lineTo(...place);
  pen.stroke();
  pen.beginPath(); // the joint, and a dot where the pointer never moves
  pen.arc(...place, pen.lineWidth / 2, 0, 2 * Math.PI);
  pen.fill();
  last = place;
  hasInk = true;
  encode();
}

drawing.addEventListener("pointerdown", (event) => {
  drawing.setPointerCapture(event.pointerId);
  last = placeOf(event);
  drawTo(event);
});
drawing.addEventListener("pointermove", (event) => {
  if (drawing.hasPointerCapture(event.pointerId)) drawTo(event);
});

async function takeExample(digit) {
  const example = document.createElement("canvas");
  try {
    paint(example, (await ask(`api/example?digit=${digit}`)).image);
  } catch (error) {
    showError(error);
    return;
  }
  pen.drawImage(example, 0, 0, drawing.width, drawing.height);
  hasInk = true;
  encode();
}

// ---- start

function addExamples(digits) {
  byId("examples").hidden = digits.length === 0;
  for (const digit of digits) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = digit;
    button.setAttribute("aria-label", `Example of a ${digit}`);
    button.addEventListener("click", () => takeExample(digit));
    byId("digits").append(button);
  }
}

byId("clear").addEventListener("click", () => {
  clearDrawing();
  encode();
});
byId("centred").addEventListener("change", encode);
byId("turn").addEventListener("input", () => {
  byId("turn-value").textContent = formatted(Number(byId("turn").value), { step: 1, unit: "°" });
  encode();
});
byId("back").addEventListener("click", () => setCode(drawnCode));
byId("zeros").addEventListener("click", () => setCode(sliders.map(() => 0)));
byId("random").addEventListener("click", () => setCode(sliders.map(({ dimension }) => drawn(dimension))));

async function start() {
  clearDrawing();
  model = await ask("api/model");
  byId("run").textContent = model.title;
  byId("seen").width = byId("seen").height = model.image_size;
  addExamples(model.digits);
  const angle = model.dimensions.find(({ unit }) => unit === "°");
  if (angle) [byId("turn").min, byId("turn").max] = [angle.low, angle.high];
  sliders = model.dimensions.map(addSlider);
  setCode(sliders.map(() => 0));
}

start().catch(showError);
