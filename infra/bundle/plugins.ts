import { createRequire, isBuiltin } from 'node:module';
import { dirname, join, relative, resolve } from 'node:path';
import type { Plugin, PluginBuild } from 'esbuild';

const ROOT = resolve(import.meta.dirname, '../..');

/** Namespaces in which esbuild lists Node's builtins as inputs of a bundle. */
const STATIC = 'node-builtin';
const DYNAMIC = 'dynamic-node-builtin';
/** Namespace of the entry points that stand for dynamically imported modules, whose paths they have. */
export const LAZY = 'lazy';

/**
 * Makes bundles load Node's builtins by `process.getBuiltinModule`, whether they are imported or required. An ESM
 * import of `node:http` runs all lazy getters of the module, one of which loads undici (20 ms of a cold start). With
 * this plugin a getter runs only when its property is read.
 */
export const nodeBuiltins: Plugin = {
  name: 'node-builtins',
  setup(build) {
    build.onResolve({ filter: /^(node:)?[a-z_\d]+(\/[a-z_\d]+)*$/ }, ({ path, kind }) => {
      if (!isBuiltin(path)) return undefined;
      const namespace = kind === 'dynamic-import' ? DYNAMIC : STATIC;
      return { path: path.replace(/^node:/, ''), namespace, sideEffects: false };
    });
    build.onLoad({ filter: /.*/, namespace: STATIC }, ({ path }) => ({
      contents: `module.exports = process.getBuiltinModule(${JSON.stringify(`node:${path}`)});`,
      loader: 'js',
    }));
    // `await import('node:async_hooks')` must return all exports of the builtin, not its default export alone.
    build.onLoad({ filter: /.*/, namespace: DYNAMIC }, ({ path }) => ({
      contents: [
        `const builtin = process.getBuiltinModule(${JSON.stringify(`node:${path}`)});`,
        'export default builtin;',
        `export const { ${listExports(path).join(', ')} } = builtin;`,
      ].join('\n'),
      loader: 'js',
    }));
  },
};

/** Returns false if an input of a bundle is one of Node's builtins or made by a plugin, true if it is a file. */
export function isFile(input: string): boolean {
  return ![STATIC, DYNAMIC, LAZY].some((namespace) => input.startsWith(`${namespace}:`));
}

/** Exports of `node:http` that load undici when they are read: 20 ms of a cold start. No bundled code uses them. */
const LOADING_UNDICI: ReadonlySet<string> = new Set(['WebSocket', 'CloseEvent', 'MessageEvent']);

/** Returns the names that the ES module of a builtin exports, except those that are expensive to read. */
function listExports(path: string): string[] {
  const builtin: object = createRequire(import.meta.url)(`node:${path}`);
  return Object.keys(builtin).filter(
    (name) => /^[A-Za-z_$][\w$]*$/.test(name) && name !== 'default' && !LOADING_UNDICI.has(name),
  );
}

/**
 * Puts all that a function imports at its start into one file. esbuild makes a file of each set of modules that the same
 * entry points share, and each dynamically imported module is an entry point. So each of these also imports what the
 * function does, which is loaded by then. It doesn't import the function itself, which may await it.
 * @param source absolute path of the function's source
 */
export function joinStart(source: string): Plugin {
  return {
    name: 'join-start',
    async setup(build) {
      const start = await listImports(source, build.esbuild);
      build.onResolve({ filter: /^\.{1,2}\// }, ({ path, kind, resolveDir }) => {
        if (kind !== 'dynamic-import') return undefined;
        return { path: relative(ROOT, join(resolveDir, path)), namespace: LAZY };
      });
      build.onLoad({ filter: /.*/, namespace: LAZY }, ({ path }) => ({
        contents: [
          ...start.map((imported) => `import ${JSON.stringify(imported)};`),
          `export * from ${JSON.stringify(join(ROOT, path))};`,
        ].join('\n'),
        resolveDir: dirname(source),
      }));
    },
  };
}

/** Returns the specifiers of a module's static imports. */
async function listImports(source: string, { build }: PluginBuild['esbuild']): Promise<string[]> {
  const { metafile } = await build({ entryPoints: [source], write: false, metafile: true, logLevel: 'silent' });
  const imports = Object.values(metafile.outputs).flatMap((output) => output.imports);
  return imports.filter(({ kind }) => kind === 'import-statement').map(({ path }) => path);
}

interface Stub {
  /** Matches the specifier of the import. */
  readonly imported: RegExp;
  /** Matches the importing file, if the specifier is ambiguous. */
  readonly importer?: RegExp;
  readonly file: string;
}

const STUBS: readonly Stub[] = [
  { imported: /^@aws-sdk\/credential-provider-node$/, file: 'credential-provider.ts' },
  { imported: /^@aws-sdk\/token-providers$/, file: 'token-providers.ts' },
  { imported: /^@aws-sdk\/middleware-websocket$/, file: 'websocket.ts' },
  { imported: /^bowser$/, importer: /[\\/]@aws-sdk[\\/]core[\\/]/, file: 'user-agent-parser.ts' },
  { imported: /\/loadSharedConfigFiles$/, importer: /[\\/]@smithy[\\/]core[\\/]/, file: 'shared-config-files.ts' },
  { imported: /\/getInstanceMetadataRegion$/, importer: /[\\/]@smithy[\\/]core[\\/]/, file: 'instance-region.ts' },
  { imported: /\/node-http2-handler$/, importer: /[\\/]@smithy[\\/]node-http-handler[\\/]/, file: 'http2-handler.ts' },
];

/** Replaces parts of the AWS SDK that a Lambda function doesn't need by stubs. Each stub's comment gives the reason. */
export const sdkStubs: Plugin = {
  name: 'sdk-stubs',
  setup(build) {
    for (const stub of STUBS) {
      build.onResolve({ filter: stub.imported }, ({ importer }) =>
        stub.importer?.test(importer) === false
          ? undefined
          : { path: join(import.meta.dirname, 'stubs', stub.file), sideEffects: false },
      );
    }
  },
};
