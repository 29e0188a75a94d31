"use strict";
(() => {
  const data = JSON.parse(document.getElementById("matrix").textContent);
  const by = (id) => document.getElementById(id);
  const table = by("heatmap");
  const detail = by("detail");
  let sorted = { column: -1, down: true };

  const option = (select, value, text) => {
    const one = document.createElement("option");
    one.value = value;
    one.textContent = text;
    select.append(one);
  };
  for (const [name, title] of Object.entries(data.metrics)) option(by("metric"), name, title);
  const modes = [...new Set(data.columns.map((column) => column.mode))].filter((mode) => mode !== "clean");
  option(by("mode"), "", "all but transfer");
  for (const mode of modes) option(by("mode"), mode, mode);

  const contains = (text, part) => text.toLowerCase().includes(part.trim().toLowerCase());
  const hint = (cell, detector, column) => {
    const words = [`${detector}, ${column.attack}${column.mode === "clean" ? "" : ", " + column.mode}: ${cell.text}`];
    if (cell.images !== undefined) words.push(`n = ${cell.images}`);
    if (cell.interval) words.push(`95% interval ${cell.interval}`);
    if (cell.worst_generator) words.push(`by generator: ${cell.worst_generator}`);
    if (column.about) words.push(column.about);
    if (cell.seconds !== undefined) words.push(`${cell.seconds} s`);
    if (cell.is_seen) words.push("attacks of this kind were met in training");
    if (cell.flags) words.push(`flags: ${cell.flags}`);
    if (cell.reason) words.push(cell.reason);
    return words.join("; ");
  };

  const shown = () => {
    const mode = by("mode").value;
    const wanted = (column) => column.mode === "clean" || (mode ? column.mode === mode : column.mode !== "transfer");
    return data.columns.flatMap((column, place) =>
      wanted(column) && (column.mode === "clean" || contains(column.attack, by("attacks").value)) ? [place] : []);
  };

  const head = (places) => {
    const row = document.createElement("tr");
    const cells = [["detector", ""], ...places.map((place) => [data.columns[place].attack, data.columns[place].mode])];
    cells.forEach(([title, mode], index) => {
      const cell = document.createElement("th");
      cell.scope = "col";
      if (!index) cell.className = "first";
      const column = index ? places[index - 1] : -2;
      cell.setAttribute("aria-sort", sorted.column !== column ? "none" : sorted.down ? "descending" : "ascending");
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = title;
      button.addEventListener("click", () => {
        sorted = { column, down: sorted.column === column ? !sorted.down : column !== -2 };
        draw();
        table.querySelectorAll("th button")[index].focus();
      });
      cell.append(button);
      if (mode && mode !== title) {
        const small = document.createElement("small");
        small.textContent = mode;
        cell.append(small);
      }
      row.append(cell);
    });
    return row;
  };

  const ordered = (rows) => {
    const names = data.detectors.map((name, place) => [name, place]).filter(([name]) => contains(name, by("detectors").value));
    const value = ([, place]) => rows[place][sorted.column].shade === undefined ? null : parseFloat(rows[place][sorted.column].text);
    if (sorted.column === -2) names.sort(([a], [b]) => (sorted.down ? -1 : 1) * a.localeCompare(b));
    else if (sorted.column >= 0)
      names.sort((a, b) => {
        const [x, y] = [value(a), value(b)];
        if (x === null || y === null) return (x === null) - (y === null);
        return sorted.down ? y - x : x - y;
      });
    return names;
  };

  const draw = () => {
    const rows = data.cells[by("metric").value][by("direction").value];
    const places = shown();
    const body = document.createElement("tbody");
    for (const [name, index] of ordered(rows)) {
      const line = document.createElement("tr");
      const title = document.createElement("th");
      title.scope = "row";
      title.dir = "auto";
      title.textContent = name;
      line.append(title);
      for (const place of places) {
        const cell = rows[index][place];
        const box = document.createElement("td");
        box.textContent = cell.text + (cell.flags || (cell.reason && cell.shade !== undefined) ? "*" : "") + (cell.is_seen ? "°" : "");
        box.title = hint(cell, name, data.columns[place]);
        box.className = cell.shade === undefined ? "missing" : "value";
        if (cell.shade !== undefined) box.style.setProperty("--share", cell.shade);
        line.append(box);
      }
      body.append(line);
    }
    const top = document.createElement("thead");
    top.append(head(places));
    table.replaceChildren(table.caption, top, body);
  };

  for (const id of ["metric", "mode", "direction", "detectors", "attacks"]) by(id).addEventListener("input", draw);
  table.addEventListener("pointerover", (event) => {
    if (event.target.title) detail.textContent = event.target.title;
  });
  by("controls").hidden = false;
  draw();
})();
