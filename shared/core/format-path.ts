/** Formats the path of a field as OpenAI does: `messages[0].content`. Returns an empty text for no path. */
export function formatPath(path: readonly { readonly key: unknown }[] = []): string {
  let text = '';
  for (const { key } of path) {
    if (typeof key === 'number') text += `[${key}]`;
    else text += text === '' ? String(key) : `.${String(key)}`;
  }
  return text;
}
