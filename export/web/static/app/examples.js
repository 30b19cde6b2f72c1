// The pictures to try when no photo is at hand.

/** A button for each of `examples` ({title, file, thumbnail}); `choose` gets the picture as a File. */
export function showExamples($, examples, choose, complain) {
  for (const { title, file, thumbnail } of examples) {
    const picture = document.createElement('img');
    picture.src = new URL(thumbnail, import.meta.url).href;
    picture.alt = title;
    const button = document.createElement('button');
    button.type = 'button';
    button.append(picture);
    button.addEventListener('click', async () => {
      try {
        const response = await fetch(new URL(file, import.meta.url));
        if (!response.ok) throw new Error(`status ${response.status}`);
        choose(new File([await response.blob()], `${title.toLowerCase().replaceAll(' ', '-')}.jpg`));
      } catch (error) {
        console.warn(error);
        complain('This example could not be loaded. Check the connection, or choose a picture of your own.');
      }
    });
    const entry = document.createElement('li');
    entry.append(button);
    $('example-list').append(entry);
  }
  $('examples').hidden = examples.length === 0;
}
