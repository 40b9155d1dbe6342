import { createRequire, isBuiltin } from 'node:module';
import { join } from 'node:path';
import type { Plugin } from 'esbuild';

/**
 * Takes every Node builtin, imported or required, from `process.getBuiltinModule`. An ESM `import … from 'node:http'`
 * runs all lazy getters of the builtin, one of which loads undici (20 ms of a cold start); taken this way, a getter
 * runs when it is used.
 */
export const nodeBuiltins: Plugin = {
  name: 'node-builtins',
  setup(build) {
    build.onResolve({ filter: /^(node:)?[a-z_\d]+(\/[a-z_\d]+)*$/ }, ({ path, kind }) => {
      if (!isBuiltin(path)) return undefined;
      const namespace = kind === 'dynamic-import' ? 'dynamic-node-builtin' : 'node-builtin';
      return { path: path.replace(/^node:/, ''), namespace, sideEffects: false };
    });
    build.onLoad({ filter: /.*/, namespace: 'node-builtin' }, ({ path }) => ({
      contents: `module.exports = process.getBuiltinModule(${JSON.stringify(`node:${path}`)});`,
      loader: 'js',
    }));
    // `await import('node:async_hooks')` must give an object with the builtin's exports, not with a default export alone.
    build.onLoad({ filter: /.*/, namespace: 'dynamic-node-builtin' }, ({ path }) => ({
      contents: [
        `const builtin = process.getBuiltinModule(${JSON.stringify(`node:${path}`)});`,
        'export default builtin;',
        `export const { ${exportedNames(path).join(', ')} } = builtin;`,
      ].join('\n'),
      loader: 'js',
    }));
  },
};

/** Returns the names that a Node builtin exports, as its ES module does. */
function exportedNames(path: string): string[] {
  const builtin: object = createRequire(import.meta.url)(`node:${path}`);
  return Object.keys(builtin).filter((name) => /^[A-Za-z_$][\w$]*$/.test(name) && name !== 'default');
}

interface Stub {
  /** How the module is imported. */
  readonly imported: RegExp;
  /** The importing file, where the specifier alone is too vague. */
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

/** Puts a stub in the place of each part of the AWS SDK that a Lambda function has no use for; each stub says why. */
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
