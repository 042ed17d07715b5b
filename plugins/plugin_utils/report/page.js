"use strict";
// Filters and sorts the tables that are there; it makes no element from any value. Copyright: see the collection.
(() => {
  const collator = new Intl.Collator("en", { numeric: true });

  const cellValue = (row, index, kind) => {
    const cell = row.cells[index];
    const given = cell.dataset.value;
    return kind === "text" ? cell.textContent.trim() : Number(given === undefined ? cell.textContent : given);
  };

  const sortBy = (table, header, direction) => {
    const kind = header.dataset.sort;
    const index = header.cellIndex;
    const body = table.tBodies[0];
    const rows = Array.from(body.rows, (row) => [cellValue(row, index, kind), row]);
    rows.sort((a, b) => direction * (kind === "text" ? collator.compare(a[0], b[0]) : a[0] - b[0]));
    body.append(...rows.map((pair) => pair[1]));
    for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
    header.setAttribute("aria-sort", direction === 1 ? "ascending" : "descending");
  };

  // Narrow windows show no header, so there is a choice beside the filters.
  const makeSorter = (table, headers, names) => {
    const label = document.createElement("label");
    const select = document.createElement("select");
    label.className = "sorter";
    label.append("Sort by ", select);
    select.append(new Option("as it stands", ""));
    names.forEach((name, number) => {
      for (const way of ["ascending", "descending"]) select.append(new Option(`${name}, ${way}`, `${number} ${way}`));
    });
    select.addEventListener("change", () => {
      if (!select.value) return;
      const [number, way] = select.value.split(" ");
      sortBy(table, headers[number], way === "ascending" ? 1 : -1);
    });
    return [label, select];
  };

  const makeSortable = (table, controls) => {
    const headers = Array.from(table.tHead.rows[0].cells).filter((header) => header.dataset.sort);
    const [label, select] = makeSorter(table, headers, headers.map((header) => header.textContent.trim()));
    controls.querySelector("output").before(label);
    headers.forEach((header, number) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...header.childNodes);
      header.append(button);
      button.addEventListener("click", () => {
        sortBy(table, header, header.getAttribute("aria-sort") === "ascending" ? -1 : 1);
        select.value = `${number} ${header.getAttribute("aria-sort")}`;
      });
    });
  };

  const textOf = new WeakMap();
  const searchable = (row) => {
    if (!textOf.has(row)) textOf.set(row, `${row.textContent} ${row.dataset.key || ""}`.toLowerCase());
    return textOf.get(row);
  };

  const matches = (row, wanted) => wanted.every(([name, value]) =>
    name === "text" ? value.split(/\s+/).every((word) => searchable(row).includes(word)) : row.dataset[name] === value);

  const filter = (controls, table) => {
    const wanted = Array.from(controls.querySelectorAll("[data-filter]"),
      (field) => [field.dataset.filter, field.dataset.filter === "text" ? field.value.trim().toLowerCase() : field.value])
      .filter((pair) => pair[1] !== "");
    let shown = 0;
    for (const row of table.tBodies[0].rows) {
      row.hidden = !matches(row, wanted);
      if (!row.hidden) shown += 1;
    }
    controls.querySelector("output").textContent = `${shown} of ${table.tBodies[0].rows.length}`;
  };

  for (const controls of document.querySelectorAll(".controls")) {
    const table = document.getElementById(controls.dataset.table);
    makeSortable(table, controls);
    controls.hidden = false;
    controls.addEventListener("input", () => filter(controls, table));
    filter(controls, table);
  }
})();
