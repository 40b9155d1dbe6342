/**
 * Stands for `bowser`, with which the AWS SDK reads a browser's user agent. The Node build never calls it, but the
 * dynamic import that mentions it would put its 34 KB into every package.
 */
export {};
