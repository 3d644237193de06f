"use strict";
// Tables to copy, as tab-separated text for a spreadsheet.
for (const button of document.querySelectorAll("button[data-copy]")) {
  button.addEventListener("click", async () => {
    const rows = document.querySelectorAll("#" + button.dataset.copy + " tr");
    const text = Array.from(rows, (row) => Array.from(row.cells, (cell) => cell.textContent).join("\t")).join("\n");
    let done = true;
    try {
      await navigator.clipboard.writeText(text);
    } catch (error) { // a browser that gives a file no clipboard
      const area = document.createElement("textarea");
      area.value = text;
      document.body.append(area);
      area.select();
      done = document.execCommand("copy");
      area.remove();
    }
    const said = button.textContent;
    button.textContent = done ? "Copied" : "Not copied";
    setTimeout(() => { button.textContent = said; }, 1500);
  });
}

function bytes(base64) {
  return Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
}

function save(name, data) {
  const [head, body] = data.split(",", 2);
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([bytes(body)], { type: head.slice(5).replace(";base64", "") }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

// Browsers refuse to save links of more than some megabytes as they stand.
document.addEventListener("click", (event) => {
  const link = event.target.closest("a[download]");
  const picture = event.target.closest("button[data-save]");
  if (link && link.getAttribute("href").startsWith("data:")) {
    event.preventDefault();
    save(link.download, link.getAttribute("href"));
  } else if (picture) {
    save(picture.dataset.save, picture.closest("figure").querySelector("img").src);
  }
});

// The molecule: one view for each source, one time and one camera for all.
(function () {
  const { symbols, guest, movies } = JSON.parse(document.getElementById("movies").textContent);
  if (!movies.length) return;
  const says = document.getElementById("viewer-says");
  if (typeof $3Dmol === "undefined" || !document.createElement("canvas").getContext("webgl")) {
    document.getElementById("stages").hidden = true;
    says.textContent = "The moving molecule needs WebGL, which this browser does not offer.";
    return;
  }
  const [select, play, slider, clock] = ["label", "play", "time", "clock"].map((id) => document.getElementById(id));
  const views = Array.from(document.querySelectorAll(".stage"), (element) => ({
    source: element.dataset.source,
    state: element.parentElement.querySelector(".state"),
    viewer: $3Dmol.createViewer(element, { backgroundColor: "white", disableFog: true }),
  }));
  for (const a of views) for (const b of views) if (a !== b) a.viewer.linkViewer(b.viewer);
  let end = 1, playing = false, visible = true;

  function xyz(movie) {
    const packed = new DataView(bytes(movie.packed).buffer);
    const frames = [];
    for (let f = 0, at = 0; f < movie.time.length; f++) {
      const lines = [String(symbols.length), ""];
      for (const symbol of symbols) {
        const p = [0, 2, 4].map((o) => (packed.getInt16(at + o, true) * movie.unit).toFixed(4));
        at += 6;
        lines.push(symbol + " " + p.join(" "));
      }
      frames.push(lines.join("\n"));
    }
    return frames.join("\n");
  }

  function load() {
    end = 0;
    for (const view of views) {
      view.viewer.removeAllModels();
      view.movie = movies.find((m) => m.source === view.source && m.label === select.value);
      view.frame = -1;
      if (view.movie) {
        view.viewer.addModelsAsFrames(xyz(view.movie), "xyz");
        const form = { stick: { radius: 0.1 }, sphere: { scale: 0.22 } };
        view.viewer.setStyle({}, form);
        const carbon = { stick: { radius: 0.1, color: "#E69F00" }, sphere: { scale: 0.22, color: "#E69F00" } };
        if (guest.length) view.viewer.setStyle({ index: guest, elem: "C" }, carbon);
        view.viewer.zoomTo();
        view.viewer.zoom(0.92);
        end = Math.max(end, view.movie.failed || 0, ...view.movie.time);
      }
      view.viewer.render();
    }
    show(0);
  }

  async function show(time) {
    clock.textContent = time.toFixed(end < 10 ? 2 : 1) + " of " + end.toFixed(end < 10 ? 2 : 1) + " ps";
    slider.value = end ? time / end : 0;
    for (const view of views) {
      const movie = view.movie;
      if (!movie) {
        view.state.textContent = ": no geometries at " + select.value;
        continue;
      }
      let frame = movie.time.findIndex((t) => t > time + 1e-9);
      frame = Math.max(0, (frame < 0 ? movie.time.length : frame) - 1);
      const failed = movie.failed !== null && time >= movie.failed - 1e-9;
      const over = time > movie.time[movie.time.length - 1] + end / movie.time.length;
      view.state.textContent = failed ? ": ✗ failed at " + movie.failed.toFixed(3) + " ps" : over ? ": ended" : "";
      if (frame !== view.frame) {
        view.frame = frame;
        await view.viewer.setFrame(frame);
        view.viewer.render();
      }
    }
  }

  function set(on) {
    playing = on;
    play.textContent = on ? "Pause" : "Play";
    play.setAttribute("aria-pressed", String(on));
  }

  play.addEventListener("click", () => set(!playing));
  select.addEventListener("change", load);
  slider.addEventListener("input", () => { set(false); show(Number(slider.value) * end); });
  document.getElementById("reset").addEventListener("click", () => {
    for (const view of views) { view.viewer.zoomTo(); view.viewer.zoom(0.92); view.viewer.render(); }
  });
  new IntersectionObserver((seen) => { visible = seen[0].isIntersecting; }).observe(document.getElementById("stages"));
  window.addEventListener("resize", () => views.forEach((view) => view.viewer.resize()));
  async function tick() {
    const began = performance.now();
    if (playing && visible && !document.hidden) {
      const most = Math.max(...views.map((view) => (view.movie ? view.movie.time.length : 2)));
      const next = Number(slider.value) + 1 / Math.max(1, most - 1);
      await show(next > 1.0005 ? 0 : Math.min(1, next) * end);
    }
    setTimeout(tick, Math.max(80, 2 * (performance.now() - began))); // leaves a slow machine time for the rest
  }
  document.getElementById("player").hidden = false;
  load();
  tick();
  set(!window.matchMedia("(prefers-reduced-motion: reduce)").matches);
})();
