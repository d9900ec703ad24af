// The little of a browser that the preview's script touches, for node: LAYERS and FEATURES stand before this.
globalThis.calls = {}; globalThis.made = {}; globalThis.listeners = {};
{
  const finite = (name, values) => {
    for (const v of values) if (typeof v === "number" && !Number.isFinite(v)) throw new Error(name + " got " + v);
  };
  const image = (w, h) => ({ width: w, height: h, data: new Uint8ClampedArray(4 * w * h) });
  const pen = new Proxy({}, { set: () => true, get: (_, name) => {
    if (name === "getImageData") return (x, y, w, h) => image(w, h);
    if (name === "createImageData") return image;
    return (...values) => { calls[name] = (calls[name] || 0) + 1; finite(name, values); };
  } });
  globalThis.Path2D = class {
    moveTo(...values) { finite("moveTo", values); }
    lineTo(...values) { finite("lineTo", values); calls.lines = (calls.lines || 0) + 1; }
  };
  const element = (key) => made[key] ??= {
    id: key, value: "", checked: true, textContent: "", tagName: "DIV", style: {}, children: [],
    clientWidth: 800, clientHeight: 600, offsetWidth: 100, offsetHeight: 40,
    addEventListener(name, f) { (this.on ??= {})[name] = f; }, getContext: () => pen, setPointerCapture() {},
    append(...parts) { this.children.push(...parts); }, replaceChildren(...parts) { this.children = parts; },
    getBoundingClientRect: () => ({ left: 0, width: 100 }), scrollIntoView() {},
  };
  let count = 0;
  globalThis.document = {
    documentElement: {}, querySelectorAll: () => LAYERS, createElement: () => element("made" + count++),
    addEventListener: (name, f) => { listeners[name] = f; },
    getElementById: (id) => id === "features" ? { textContent: FEATURES } : Object.values(made).find((one) => one.id === id) || element(id),
  };
  globalThis.window = {};
  globalThis.addEventListener = (name, f) => { listeners[name] = f; };
  globalThis.getComputedStyle = () => ({ getPropertyValue: () => " #123456" });
  globalThis.matchMedia = () => ({ matches: false, addEventListener() {} });
  const frames = [];
  globalThis.requestAnimationFrame = (f) => frames.push(f);
  globalThis.settle = () => { for (let k = 0; k < 1000 && frames.length; k++) frames.shift()(); };
  Object.assign(element("layer"), { value: 0 }); Object.assign(element("pace"), { value: "0" });
  Object.assign(element("onward"), { checked: false });
}
