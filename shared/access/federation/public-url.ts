/** Returns whether a URL may be fetched, as far as its text says. Its host's addresses are checked when it is fetched. */
export function isPublicUrl(text: string, isLoopbackAllowed: boolean): boolean {
  const url = URL.parse(text);
  if (url === null || url.username !== '' || url.password !== '' || url.hash !== '') return false;
  if (url.protocol === 'https:') return true;
  return isLoopbackAllowed && url.protocol === 'http:' && url.hostname === '127.0.0.1';
}
