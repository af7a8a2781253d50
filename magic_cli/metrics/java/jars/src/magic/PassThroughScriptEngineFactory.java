// SPDX-License-Identifier: MIT
package magic;

import java.util.List;
import javax.script.ScriptEngine;
import javax.script.ScriptEngineFactory;

/**
 * Announces {@link PassThroughScriptEngine} under the name "JavaScript", which Java 15 and newer no longer have.
 *
 * <p>Registered in META-INF/services/javax.script.ScriptEngineFactory.
 */
public final class PassThroughScriptEngineFactory implements ScriptEngineFactory {
    @Override
    public String getEngineName() {
        return "magic pass-through";
    }

    @Override
    public String getEngineVersion() {
        return "1";
    }

    @Override
    public List<String> getExtensions() {
        return List.of();
    }

    @Override
    public List<String> getMimeTypes() {
        return List.of();
    }

    @Override
    public List<String> getNames() {
        return List.of("JavaScript");
    }

    @Override
    public String getLanguageName() {
        return "one known script";
    }

    @Override
    public String getLanguageVersion() {
        return "1";
    }

    @Override
    public Object getParameter(String key) {
        switch (key) {
            case ScriptEngine.ENGINE:
                return getEngineName();
            case ScriptEngine.ENGINE_VERSION:
                return getEngineVersion();
            case ScriptEngine.NAME:
                return "JavaScript";
            case ScriptEngine.LANGUAGE:
                return getLanguageName();
            case ScriptEngine.LANGUAGE_VERSION:
                return getLanguageVersion();
            default:
                return null;
        }
    }

    @Override
    public String getMethodCallSyntax(String object, String method, String... arguments) {
        throw new UnsupportedOperationException("methods");
    }

    @Override
    public String getOutputStatement(String text) {
        throw new UnsupportedOperationException("output");
    }

    @Override
    public String getProgram(String... statements) {
        throw new UnsupportedOperationException("programs");
    }

    @Override
    public ScriptEngine getScriptEngine() {
        return new PassThroughScriptEngine(this);
    }
}
