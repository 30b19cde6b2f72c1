// Files that are dropped on the page or pasted.

/** Call `choose(file)` with each; the page is marked as a target for files while one is over it and it is `free()`. */
export function onFiles(choose, free) {
  let depth = 0; // Entering a child leaves its parent: only the outermost leave counts.
  const files = (event) => event.dataTransfer?.types.includes('Files');
  const mark = (change) => {
    depth = Math.max(0, depth + change);
    document.body.classList.toggle('over', depth > 0 && free());
  };
  document.addEventListener('dragenter', (event) => files(event) && mark(1));
  document.addEventListener('dragleave', (event) => files(event) && mark(-1));
  document.addEventListener('dragover', (event) => files(event) && event.preventDefault());
  document.addEventListener('drop', (event) => {
    if (!files(event)) return;
    event.preventDefault();
    mark(-depth);
    choose(event.dataTransfer.files[0]);
  });
  document.addEventListener('paste', (event) => choose(event.clipboardData?.files[0]));
}
