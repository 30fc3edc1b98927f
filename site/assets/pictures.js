// Draws an input, its witness and their difference. A witness is stored as its difference in steps of scale / 127.
"use strict";

sok.pictures = (() => {
  async function inflate(text) {
    const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
    return new Int8Array(await new Response(stream).arrayBuffer());
  }

  // RGBA bytes of an image address at its own size
  function pixels(address) {
    return new Promise((answer, fail) => {
      const image = new Image();
      image.onload = () => {
        const canvas = sok.el("canvas", {width: image.naturalWidth, height: image.naturalHeight});
        const context = canvas.getContext("2d", {willReadFrequently: true});
        context.drawImage(image, 0, 0);
        answer(context.getImageData(0, 0, canvas.width, canvas.height));
      };
      image.onerror = fail;
      image.src = address;
    });
  }

  function canvas(data, text) {
    const made = sok.el("canvas", {width: data.width, height: data.height, role: "img", "aria-label": text});
    made.getContext("2d").putImageData(data, 0, 0);
    return made;
  }

  // {witness, difference}: canvases
  async function draw(address, witness) {
    const [input, delta] = await Promise.all([pixels(address), inflate(witness.delta)]);
    const [channels, height, width] = witness.shape;
    const area = height * width, shown = new ImageData(width, height), change = new ImageData(width, height);
    for (let at = 0; at < area; at += 1) {
      let signed = 0, largest = 0;
      for (let c = 0; c < 3; c += 1) {
        const step = delta[(channels === 1 ? 0 : c) * area + at];
        shown.data[4 * at + c] = Math.round(input.data[4 * at + c] + (step / 127) * witness.scale * 255);
        if (Math.abs(step) > largest) { largest = Math.abs(step); signed = step; }
      }
      // darker becomes blue, brighter orange, unchanged white; the strongest channel decides
      const share = largest / 127, to = signed < 0 ? [0, 114, 178] : [213, 94, 0];
      for (let c = 0; c < 3; c += 1) change.data[4 * at + c] = Math.round(255 + (to[c] - 255) * share);
      shown.data[4 * at + 3] = change.data[4 * at + 3] = 255;
    }
    return {witness: canvas(shown, "The counterexample"), difference: canvas(change, "What was changed: orange is brighter, blue is darker")};
  }

  return {draw};
})();
